"""What is this file? For any path: what it is, what is missing, and whether it is safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.families.family import FamilyCandidate
from napari_memscan.checkpoints.loading import (
    describe_checkpoint,
    detect_families,
    explain_unknown,
    load_checkpoint,
)
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.errors import BadInput


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a path turned out to be.

    Attributes
    ----------
    path : Path
        What was looked at.
    candidates : tuple of Candidate
        Likeliest first; empty where no family knows it.
    checkpoint : Checkpoint or None
        Loaded, where nothing is missing and everything fits.
    problem : str
        Why it cannot be used as it is; empty otherwise.
    declared : Declared or None
        What was stated about it.
    """

    path: Path
    candidates: tuple[FamilyCandidate, ...]
    checkpoint: Checkpoint | None = None
    problem: str = ""
    declared: ModelOverrides | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What the files do not say and nobody has stated."""
        return self.candidates[0].missing if self.candidates and not self.checkpoint else ()

    @property
    def only_scale_missing(self) -> bool:
        """Whether training volumes are all that is needed: they tell the scale factor."""
        return len(self.missing) == 1 and self.missing[0].startswith("scale_factor:")

    def lines(self) -> list[str]:
        """Return it for people, one finding a line."""
        lines = []
        if self.checkpoint is not None:
            lines.append(f"{self.path}: {describe_checkpoint(self.checkpoint)}")
        elif self.candidates:
            lines.append(f"{self.path}: {self.candidates[0].title}")
        for candidate in self.candidates[: 1 if self.checkpoint else 3]:
            reasons = "; ".join(candidate.reasons)
            lines.append(f"looks like  {candidate.title} ({candidate.score:.0%}): {reasons}")
        if self.checkpoint is not None:
            report = self.checkpoint.report
            lines += [f"            {text}" for text in report.lines()]
            lines.append(
                "safe        code of the checkpoint was run, since you trust it"
                if report.trusted
                else "safe        read as data; nothing in it was run"
            )
        lines += [f"missing     {text}" for text in self.missing]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        checkpoint = self.checkpoint
        return {
            "path": str(self.path),
            "what": "checkpoint" if self.candidates else "unknown",
            "usable": checkpoint is not None,
            "ran_code": checkpoint is not None and checkpoint.report.trusted,
            "description": describe_checkpoint(checkpoint) if checkpoint else None,
            "candidates": [vars(candidate) for candidate in self.candidates],
            "missing": list(self.missing),
            "report": checkpoint.report.as_dict() if checkpoint else None,
            "recipe": checkpoint.recipe.model_dump(mode="json") if checkpoint else None,
            "recipe_hash": checkpoint.recipe.hash if checkpoint else None,
            "checkpoint_hash": checkpoint.hash if checkpoint else None,
            "error": self.problem or None,
        }


def inspect_checkpoint(
    path: str | Path, declared: ModelOverrides | None = None, kind: str | None = None
) -> Inspection:
    """Look at a path without running anything in it; whatever is wrong is in the answer.

    Parameters
    ----------
    path : path
        Weight file, configuration or folder.
    declared : Declared, optional
        What the user states about it.
    kind : str, optional
        What is wanted: ``ldm``, ``autoencoder`` or ``embedder``; see `load_checkpoint`.
    """
    path = Path(path)
    candidates: tuple[FamilyCandidate, ...] = ()
    checkpoint, problem = None, ""
    try:
        candidates = tuple(detect_families(path, declared))
        if not candidates:
            raise BadInput(explain_unknown(PathProbe(path, declared)))
        if kind is not None:
            candidates = tuple(sorted(candidates, key=lambda c: c.kind != kind))
        if candidates[0].missing:
            raise BadInput(
                f"{path}: {candidates[0].title}; the files do not say everything. State it with "
                f"--set NAME=VALUE. Missing: {'; '.join(candidates[0].missing)}."
            )
        checkpoint = load_checkpoint(path, declared, kind)
    except BadInput as error:
        problem = str(error)
    return Inspection(path, candidates, checkpoint, problem, declared)
