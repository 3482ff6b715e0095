"""What is this file? For any path: what it is, what is missing, and whether it is safe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.families.family import FamilyCandidate, MissingFact, explain_missing
from napari_memscan.checkpoints.loading import (
    describe_checkpoint,
    detect_families,
    explain_unknown,
    load_checkpoint,
)
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.checkpoints.trusted.trust_check import explain_refusal, needs_trust
from napari_memscan.errors import BadInput


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a path turned out to be.

    Attributes
    ----------
    path : Path
        What was looked at.
    candidates : tuple of FamilyCandidate
        Likeliest first; empty where no family knows it.
    checkpoint : Checkpoint or None
        Loaded, where nothing is missing and everything fits.
    unscaled : Checkpoint or None
        An LDM of which only the scale factor is missing, loaded with 1 in its place: training
        volumes tell it, and an embedder does not need it.
    problem : BadInput or None
        Why it cannot be used as it is.
    declared : ModelOverrides or None
        What was stated about it.
    code : str
        Why it could only be used by running code that comes with it; empty where that is not so,
        or where nothing hinders.
    """

    path: Path
    candidates: tuple[FamilyCandidate, ...]
    checkpoint: Checkpoint | None = None
    unscaled: Checkpoint | None = None
    problem: BadInput | None = None
    declared: ModelOverrides | None = None
    code: str = ""

    @property
    def missing(self) -> tuple[MissingFact, ...]:
        """What the files do not say and nobody has stated."""
        return self.candidates[0].missing if self.candidates and not self.checkpoint else ()

    def require_checkpoint(self, unscaled: bool = False) -> Checkpoint:
        """Return what was loaded; of an LDM without scale factor too, if `unscaled` does.

        Raises
        ------
        BadInput
            It cannot be used; says why.
        """
        checkpoint = self.checkpoint or (self.unscaled if unscaled else None)
        if checkpoint is None:
            assert self.problem is not None
            raise self.problem
        return checkpoint

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
            "candidates": [
                vars(candidate) | {"missing": list(map(str, candidate.missing))}
                for candidate in self.candidates
            ],
            "missing": list(map(str, self.missing)),
            "report": checkpoint.report.as_dict() if checkpoint else None,
            "recipe": checkpoint.recipe.model_dump(mode="json") if checkpoint else None,
            "recipe_hash": checkpoint.recipe.hash if checkpoint else None,
            "checkpoint_hash": checkpoint.hash if checkpoint else None,
            "error": None if self.problem is None else str(self.problem),
        }


def inspect_checkpoint(
    path: str | Path,
    declared: ModelOverrides | None = None,
    kind: CheckpointKind | None = None,
    *,
    trust: bool = False,
    device: str = "auto",
) -> Inspection:
    """Look at a path; whatever is wrong is in the answer. Nothing is run without `trust`.

    Parameters
    ----------
    path, declared, kind, trust, device
        See `load_checkpoint`.
    """
    candidates: tuple[FamilyCandidate, ...] = ()
    unscaled = None
    try:
        if trust and needs_trust(path):
            checkpoint = load_checkpoint(path, declared, kind, trust=True, device=device)
            return Inspection(Path(path), candidates, checkpoint, declared=declared)
        candidates = tuple(detect_families(path, declared))
        if not candidates:
            raise BadInput(explain_unknown(PathProbe(path, declared)))
        if kind is not None:
            candidates = tuple(sorted(candidates, key=lambda c: c.kind != kind))
        first = candidates[0]
        if first.kind == "ldm" and [fact.name for fact in first.missing] == ["scale_factor"]:
            unscaled = _load_unscaled(path, declared or ModelOverrides(), kind)
        if first.missing:
            raise explain_missing(Path(path), first.missing, first.title)
        checkpoint = load_checkpoint(path, declared, kind)
        return Inspection(Path(path), candidates, checkpoint, declared=declared)
    except BadInput as error:
        code = needs_trust(path) or ""
        problem = explain_refusal(path) if code and not candidates and not trust else error
        return Inspection(Path(path), candidates, None, unscaled, problem, declared, code)


def _load_unscaled(
    path: str | Path, declared: ModelOverrides, kind: CheckpointKind | None
) -> Checkpoint:
    """Load an LDM with 1 as its scale factor; its report does not speak of it."""
    one = {"scale_factor": 1.0, "scale_factor_from": "stands in for what is not known"}
    checkpoint = load_checkpoint(path, declared.model_copy(update=one), kind)
    facts = tuple(fact for fact in checkpoint.report.facts if fact.name != "scale_factor")
    return replace(checkpoint, report=replace(checkpoint.report, facts=facts))
