"""What the study form still needs, and what to do next in it."""

from __future__ import annotations

from collections.abc import Mapping

from napari_memscan.typing import Split
from napari_memscan.widgets.study.field_status import FieldStatus

REQUIRED_FIELDS = ("folder", "cohort", "generator")


def find_missing_fields(
    findings: Mapping[str, FieldStatus], waiting: bool, differs: bool | None
) -> tuple[str, str]:
    """Return why the form cannot be confirmed, empty when it can, and what to do next.

    Parameters
    ----------
    findings : dict of str to FieldStatus
        Of the fields that were looked at.
    waiting : bool
        Others are being looked at.
    differs : bool or None
        Whether anything differs from the open study; None when a new one is being made.
    """
    wrong = [field for field, finding in findings.items() if finding.level == "error"]
    if wrong:
        following = f"mend what is wrong: {', '.join(wrong)}"
        if findings[wrong[0]].code:
            following = f"Trust and run, or choose another {wrong[0]}"
        return f"Mend first: {', '.join(wrong)}", following
    for field, finding in findings.items():
        if finding.missing:
            names = ", ".join(fact.name or fact.what for fact in finding.missing)
            return f"Still to state about the {field}: {names}", f"state {names} below the {field}"
    if waiting:
        return "Looking at what was chosen …", "wait a moment"
    if differs is not None:
        return ("", "Keep changes") if differs else ("Nothing was changed", "")
    found = {field: finding.value for field, finding in findings.items()}
    cohort = found.get("cohort")
    own = cohort is not None and cohort.counts()[Split.SYNTHETIC]
    needed = [field for field in REQUIRED_FIELDS if not (own and field == "generator")]
    unchosen = [field for field in needed if found.get(field) is None]
    if not unchosen:
        return "", "Create study"
    following = f"choose {', '.join(unchosen)}"
    if unchosen == list(REQUIRED_FIELDS):
        following = "open a study, or choose folder, cohort and generator for a new one"
    return f"Still to choose: {', '.join(unchosen)}", following
