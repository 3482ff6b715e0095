"""What step 4 says: of a release that could be made, of one that was, and of one verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_memscan.jobs import ReleasePreview
from napari_memscan.study import Study
from napari_memscan.widgets.release.tasks import count_open_questions

if TYPE_CHECKING:
    from napari_memscan.jobs.release.release import WrittenRelease
    from napari_memscan.report.verification import ReleaseVerification

MAX_FAULTS = 5
"""So many faults are named without hovering."""


def format_passed(preview: ReleasePreview) -> str:
    """Return how many volumes pass, and what lets them."""
    n = sum(preview.passed.values())
    text = f"Pass: {n} of {preview.selection.generated} volumes{_format_reasons(preview.passed)}"
    drawn = f". {preview.selection.released} of them would be drawn"
    return text + (drawn if preview.selection.left_out else "")


def format_rejected(preview: ReleasePreview) -> str:
    """Return how many volumes are rejected, and why; empty where none is."""
    reasons = preview.selection.rejected
    return f"Rejected: {sum(reasons.values())}{_format_reasons(reasons)}" if reasons else ""


def format_unread(preview: ReleasePreview) -> str:
    """Return how many volumes must be read first; empty where all are."""
    n = len(preview.unread)
    return f"Unread: {n}, to be read first" if n else ""


def format_warnings(preview: ReleasePreview) -> str:
    """Return what the publisher should know, one a line; empty where there is nothing."""
    return "\n".join(f"{text[:1].upper()}{text[1:]}." for text in preview.warnings)


def describe_release(made: WrittenRelease, study: Study) -> tuple[str, str, str]:
    """Return what was released of a study, its level, and what is read on hovering."""
    n = count_open_questions(study)
    text = f"{made.selection}. They are in {made.folder}."
    if not n:
        return text, "ok", ""
    more = (
        f"Answer them in {study.folder}/study.toml, below [release.answers], open the study again, "
        "and release again: a datasheet.md that is changed no longer fits its hash."
    )
    return f"{text} Its datasheet.md has {n} open questions: press to read.", "ok", more


def describe_verification(found: ReleaseVerification, noted: bool) -> tuple[str, str, str]:
    """Return what a verification found, its level, and what is read on hovering."""
    more = "\n".join([*found.faults, *found.claims, f"fingerprint {found.fingerprint}"])
    if not found.intact:
        faults = "\n".join(found.faults[:MAX_FAULTS])
        others = len(found.faults) - MAX_FAULTS
        faults += f"\n… and {others} more: press to read" if others > 0 else ""
        return f"Broken. Do not use or hand out this folder.\n{faults}", "error", more
    text = f"Intact: {found.n_files} files, none is missing, was added or changed"
    if noted:
        return f"{text}, and the fingerprint is the one above.", "ok", more
    text += (
        f". The fingerprint begins with {found.fingerprint[:12]}: compare it with the one that was "
        "noted, or paste that one above and verify again."
    )
    return text, "ok", more


def _format_reasons(reasons: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{why}: {n}' for why, n in reasons.items())})" if reasons else ""
