"""What is asked about a field of the study form, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_memscan.checkpoints.families.family import MissingFact
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.embedders import LOW_RESOLUTION


@dataclass(frozen=True)
class FieldChoice:
    """What somebody chose in one field of the form.

    Attributes
    ----------
    path : str
        As typed.
    stated : str
        What the files do not say: NAME=VALUE, separated by ``;`` or line breaks.
    trust : bool
        Its code may be run; a person has said so about this path.
    kept : dict
        What was found out earlier about this very model, such as an estimated scale factor. What
        is stated goes before it.
    """

    path: str
    stated: str = ""
    trust: bool = False
    kept: Mapping[str, Any] = field(default_factory=dict)

    def declared(self) -> ModelOverrides:
        """Return what is stated; BadInput where it is not NAME=VALUE or does not fit."""
        pairs = [pair for line in self.stated.splitlines() for pair in line.split(";")]
        stated = ModelOverrides.parse(pair for pair in pairs if pair.strip()).to_dict()
        kept = {} if "scale_factor" in stated else dict(self.kept)
        return ModelOverrides.from_mapping(kept | stated).absolute()


@dataclass(frozen=True)
class FieldStatus:
    """What a choice turned out to be.

    Attributes
    ----------
    text : str
        A few short lines for people.
    level : str
        ``ok``, ``info``, ``warning``, ``missing`` (usable once more is stated) or ``error``.
    value : object
        What the study needs of it; None while it cannot be used.
    more : str
        What is read on hovering.
    missing : tuple of MissingFact
        What the files do not say and nobody has stated.
    about_model : bool
        It may be a model, so that more can be stated about it.
    code : str
        Why it can only be used by running its code; empty where that is not so.
    """

    text: str
    level: str = "ok"
    value: Any = None
    more: str = ""
    missing: tuple[MissingFact, ...] = ()
    about_model: bool = False
    code: str = ""


@dataclass(frozen=True)
class EmbedderChoice:
    """What the study needs of an embedder; see `StudyConfig`.

    Attributes
    ----------
    path : str
        ``low-resolution``, a checkpoint, or a plug-in.
    declared : dict
        What its files do not say.
    trust : bool
        Its code may be run.
    """

    path: str = LOW_RESOLUTION
    declared: dict[str, Any] = field(default_factory=dict)
    trust: bool = False
