"""A loaded checkpoint: recipe, tensors under our networks' names, and the account of loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.archive import check_checksums
from napari_memscan.checkpoints.recipe import Recipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.checkpoints.weights import detect_container, translate_read_errors
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file, hash_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_memscan.checkpoints.latent_model import LatentModel


@dataclass(frozen=True)
class Fact:
    """One thing that sampling needs, and where it comes from.

    Attributes
    ----------
    name, value : str
        For people.
    origin : str
        ``the checkpoint``, ``configs/inference.json``, ``declared``, ``the family's default`` ...
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class LoadReport:
    """How a checkpoint was loaded.

    Attributes
    ----------
    family, title : str
        Which adapter did it: its name, and what it is called for people.
    files : dict of str to Path
        Part of the model to its weight file.
    states : dict of str to StateDict
        Where in the file each part was found, what was taken off, renamed, left out.
    foreign : tuple of str
        Classes named in the files that were neither imported nor run.
    facts : tuple of Fact
        What the weights do not say and where it was found.
    warnings : tuple of str
        What a reader of the numbers must know.
    trusted : bool
        Code from the checkpoint was run, because the user said so.
    """

    family: str
    title: str
    files: Mapping[str, Path]
    states: Mapping[str, StateDict] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
    trusted: bool = False

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each part's file."""
        return {part: hash_file(path) for part, path in sorted(self.files.items())}

    def lines(self) -> list[str]:
        """Return what people want to know of it, one line each."""
        lines = []
        for part, state in self.states.items():
            text = f"{part}: {len(state.tensors)} tensors"
            if state.where:
                text += f" from '{state.where}'"
            if state.prefix:
                text += f", '{state.prefix}' taken off"
            if state.renamed:
                text += f", {state.renamed} renamed"
            if state.unused:
                text += f", {len(state.unused)} unused ({state.unused[0]} ...)"
            lines.append(text)
        lines += [f"{fact.name}: {fact.value} ({fact.origin})" for fact in self.facts]
        if self.foreign:
            lines.append("not imported, not run: " + ", ".join(self.foreign[:6]))
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            "family": self.family,
            "title": self.title,
            "trusted": self.trusted,
            "sha256": self.hashes,
            "parts": {
                part: {
                    "file": str(self.files.get(part, "")),
                    "tensors": len(state.tensors),
                    "found_at": state.where,
                    "prefix": state.prefix,
                    "renamed": state.renamed,
                    "unused": state.unused,
                }
                for part, state in self.states.items()
            },
            "not_imported": list(self.foreign),
            "facts": [vars(fact) for fact in self.facts],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a model is made of, whatever it was loaded from.

    Attributes
    ----------
    path : Path
        What the user named.
    recipe : Recipe
        All that the weights do not say.
    parts : dict of str to dict of str to tensor
        Part of the model to its tensors, named as our networks name them; read when touched.
    report : LoadReport
        How it was loaded.
    """

    path: Path
    recipe: Recipe
    parts: Mapping[str, Mapping[str, Tensor]]
    report: LoadReport

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over the recipe and the bytes of all weight files."""
        return hash_json({"recipe": self.recipe.hash, "files": self.report.hashes})

    def weights(self, part: str) -> dict[str, Tensor]:
        """Return one part's tensors as float32.

        Raises
        ------
        BadInput
            NaN, infinity, only zeros, or a file that cannot be read to its end.
        """
        import torch

        if part not in self.parts:
            raise BadInput(f"{self.path}: names no weights for '{part}'.")
        path = self.report.files.get(part, self.path)
        with translate_read_errors(path):
            if detect_container(path) == "zip":
                check_checksums(path)
            # As float32 first: 8-bit floats cannot be asked whether they are finite.
            tensors = {
                k: v.float() if v.is_floating_point() else v for k, v in self.parts[part].items()
            }
            floats = {k: v for k, v in tensors.items() if v.is_floating_point()}
            bad = [k for k, v in floats.items() if not torch.isfinite(v).all()]
            if bad:
                raise BadInput(
                    f"{path}: tensor '{bad[0]}' holds NaN or infinity ({len(bad)} such tensors). "
                    "The training diverged or the file is damaged; use an earlier checkpoint."
                )
            if floats and not any(v.any() for v in floats.values()):
                raise BadInput(
                    f"{path}: every weight is 0; nothing was trained, or the file is damaged."
                )
        return tensors

    def build_model(self, device: torch.device) -> LatentModel:
        """Return an LDM's networks with their weights; see `LatentModel.build`."""
        from napari_memscan.checkpoints.latent_model import LatentModel

        return LatentModel.build(self, device)
