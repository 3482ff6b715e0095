"""What is known to be a copy, and from where."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.files import read_small_file
from napari_memscan.review.accuracy import binarise_decisions, binarise_verdicts
from napari_memscan.review.blind_plan import BlindPlan
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Verdict

_TRUTH_VALUES = {"1": 1, "copy": 1, "0": 0, "not a copy": 0}


@dataclass(frozen=True)
class Truth:
    """Which cases are copies.

    Attributes
    ----------
    values : dict of str to int
        Name to 1 (a copy) or 0.
    source : str
        In words: what a sensitivity or a ROC curve rests on.
    """

    values: dict[str, int]
    source: str

    def known(self) -> dict[str, bool | None]:
        """Return the same as yes or no."""
        return {name: bool(value) for name, value in self.values.items()}

    def over(self, other: Truth) -> Truth:
        """Return both; where both know a case, this one is right."""
        if not self.values or not other.values:
            return other if not self.values else self
        return Truth(
            {**other.values, **self.values}, f"{self.source}; of all others {other.source}"
        )


def build_truth_from_plans(plans: Iterable[BlindPlan]) -> Truth:
    """Return what blind studies know of themselves: validation volumes, and planted copies."""
    values: dict[str, int] = {}
    for plan in plans:
        values |= plan.truth()
    planted = sum(values.values())
    return Truth(values, f"{planted} planted copies and {len(values) - planted} validation volumes")


def build_truth_from_verdicts(verdicts: Mapping[str, Verdict]) -> Truth:
    """Return the program's verdicts as truth; undecided ones are not in it."""
    return _build_truth(binarise_verdicts(verdicts), "the program's verdicts")


def build_truth_from_reader(decisions: Mapping[str, ReadingEvent], reader: str) -> Truth:
    """Return a reader's decisions as truth; unsure ones are not in it."""
    return _build_truth(binarise_decisions(decisions), f"the decisions of {reader}")


def _build_truth(answers: Mapping[str, bool | None], source: str) -> Truth:
    return Truth({name: int(a) for name, a in answers.items() if a is not None}, source)


def read_truth_table(path: str | Path) -> Truth:
    """Return the truth of a CSV file with the columns ``sample`` and ``truth``.

    Raises
    ------
    BadInput
        Another table, or a truth that is none of 1, 0, copy, not a copy.
    """
    try:
        text = read_small_file(path).decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path}: no readable CSV file ({error}).") from error
    values = {}
    for number, row in enumerate(rows, 2):
        name, answer = row.get("sample"), (row.get("truth") or "").strip().lower()
        if not name or answer not in _TRUTH_VALUES:
            raise BadInput(
                f"{path}, line {number}: the columns 'sample' and 'truth' are expected, with truth "
                f"one of {', '.join(_TRUTH_VALUES)}."
            )
        values[name.strip()] = _TRUTH_VALUES[answer]
    return Truth(values, f"the table {Path(path).name}")
