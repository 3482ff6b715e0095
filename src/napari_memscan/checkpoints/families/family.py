"""What every family of checkpoints provides, and what they all need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.errors import BadInput, Hint, HintKind, describe_validation_error

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class MissingFact:
    """What the files of a model do not say and nobody has stated.

    Attributes
    ----------
    name : str
        Field of `ModelOverrides` to state; empty where no single one will do.
    what : str
        What it is, for people.
    example : str
        A value that could be stated.
    """

    name: str
    what: str
    example: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.what}" if self.name else self.what
        return f"{text}, as {self.example}" if self.example else text


def build_missing(error: BadInput) -> MissingFact:
    """Return what is missing where a file was refused for want of it."""
    hint = error.hint
    asks = hint is not None and hint.kind is HintKind.STATE
    return MissingFact(hint.about.partition("=")[0] if hint and asks else "", str(error))


def explain_missing(path: Path, missing: Iterable[MissingFact], title: str = "") -> BadInput:
    """Return the error that names what is missing."""
    return BadInput(
        f"{path}: {title + '; ' if title else ''}the files do not say everything. Missing: "
        f"{'; '.join(map(str, missing))}.",
        Hint(HintKind.STATE, "NAME=VALUE"),
    )


@dataclass(frozen=True)
class FamilyCandidate:
    """What a path may be.

    Attributes
    ----------
    family, title : str
        Which adapter would load it: its name, and what it is called for people.
    kind : {"ldm", "autoencoder", "embedder"}
        What it would be used as.
    score : float
        In (0, 1]: 1 when names and shapes leave no doubt.
    reasons : tuple of str
        What was seen.
    missing : tuple of MissingFact
        What sampling or embedding needs and nobody has said yet.
    """

    family: str
    title: str
    kind: CheckpointKind
    score: float
    reasons: tuple[str, ...]
    missing: tuple[MissingFact, ...] = ()


@dataclass(frozen=True)
class Family:
    """One sort of checkpoint.

    Attributes
    ----------
    name : str
        Short, as in ``--set family=NAME``.
    recognise : callable
        Says what a path is if it is of this family, else None. Runs nothing, builds nothing.
    load : callable
        Makes a `Checkpoint` of it, or raises BadInput that says what is missing.
    """

    name: str
    recognise: Callable[[PathProbe], FamilyCandidate | None]
    load: Callable[[PathProbe], Checkpoint]


class FactCollector:
    """Collects what the weights do not say: what was declared goes before what was found.

    Parameters
    ----------
    found : PathProbe
        With what the user declared.

    Attributes
    ----------
    facts : list of Fact
        What is known, with its origin.
    missing : list of MissingFact
        What is not.
    """

    def __init__(self, found: PathProbe) -> None:
        self._found = found
        self.facts: list[Fact] = []
        self.missing: list[MissingFact] = []

    def choose(self, name: str, *options: tuple[T | None, str]) -> T | None:
        """Return the first that is known, and note it with its origin.

        Parameters
        ----------
        name : str
            Of a field of `ModelOverrides`; that goes first where it was stated.
        options : pairs of value and origin
            In order of preference; a value of None is not known.
        """
        stated = getattr(self._found.declared, name, None)
        origin = "declared"
        if name == "scale_factor" and self._found.declared.scale_factor_from:
            origin = self._found.declared.scale_factor_from
        for value, where in ((stated, origin), *options):
            if value is not None:
                self.facts.append(Fact(name, _format_value(value), where))
                return value
        return None

    def need(
        self, name: str, what: str, *options: tuple[T | None, str], example: str = ""
    ) -> T | None:
        """Do as `choose`, and note as missing what nobody knows.

        Parameters
        ----------
        what : str
            What it is, such as ``channels and axes of a latent``.
        example : str
            A value, such as ``8,36,44,28``.
        """
        value = self.choose(name, *options)
        if value is None:
            self.missing.append(MissingFact(name, what, example))
        return value

    def check(self) -> None:
        """Raise BadInput when anything is missing."""
        if self.missing:
            raise explain_missing(self._found.path, self.missing)


def _format_value(value: Any) -> str:
    if isinstance(value, tuple | list) and len(value) > 8:
        return f"{len(value)} values"
    if isinstance(value, tuple | list):
        return " x ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def build_recipe(path: Path, recipe: type[R], **fields: Any) -> R:
    """Return a recipe; BadInput that names `path` and the fields that do not fit it."""
    try:
        return recipe(**fields)
    except ValidationError as error:
        problems = describe_validation_error(error, "recipe")
        raise BadInput(f"{path}: what is known of it makes no recipe: {problems}.") from error
