"""What the runs of an experiment found, side by side and beside what the paper says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.detection.statistics.differences import (
    INCONCLUSIVE,
    SINGLE_TRAINING_NOTE,
    ProportionDifference,
)
from napari_memscan.files import parse_json
from napari_memscan.jobs.experiment.factors import FACTORS, FactorValue
from napari_memscan.jobs.experiment.plan import ExperimentPlan, ExperimentRun
from napari_memscan.study import Study
from napari_memscan.typing import Split, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.training.settings import DenoiserSettings

RESULT_FILE, TIMES_FILE = "result.json", "times.json"
"""In a run's folder: what was found, and how long it took."""

VERIFIED_COPIES, N_MEMORISED = "verdict copy", "N_mem"


def summarise_run(
    own: Study, run: ExperimentRun, result: ScanResult, settings: DenoiserSettings, duplicated: int
) -> dict[str, Any]:
    """Return what is kept of a run's scan.

    Parameters
    ----------
    own : Study
        Of the run; its first `duplicated` training volumes are those that may be duplicated.
    run : ExperimentRun
    result : ScanResult
    settings : DenoiserSettings
    duplicated : int
    """
    from napari_memscan.checkpoints.native_format import read_recipe

    twice = {row.name for row in own.cohort.rows(Split.TRAINING)[:duplicated]}
    called = [s for s in result.samples if s.verdict.called]
    recipe: Any = read_recipe(own.folder / "models" / "denoiser")
    losses = recipe.provenance["denoiser"]["validation"]
    return {
        "run": run.name,
        "values": dict(run.values),
        "steps": settings.steps,
        "n_training": result.n_training,
        "n_validation": result.n_validation,
        "n": result.n_synthetic,
        "verdicts": {v: result.count(v) for v in Verdict},
        "copies_interval": list(result.copies_interval),
        "n_mem": result.n_mem,
        "mem_interval": list(result.mem_interval),
        "duplicated": duplicated,
        "called_of_duplicated": sum(s.neighbour in twice for s in called),
        "validation_loss": losses[-1][1] if losses else None,
        "rules": [
            {
                "name": rule.name,
                "decides": rule.decides,
                "n": rule.n_copies,
                "interval": list(rule.copies_interval),
                "mem_share": rule.mem_share,
                "by_chance": rule.by_chance,
                "note": rule.note,
            }
            for rule in result.rules
        ],
    }


@dataclass(frozen=True)
class FactorLevel:
    """What a factor's value gave: counts of all runs with it that are compared.

    Attributes
    ----------
    value : str, int or float
    counts : dict of str to (int, int)
        Measure to `k` of `n`.
    """

    value: FactorValue
    counts: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class FactorAnswer:
    """Whether what others found holds here.

    Attributes
    ----------
    factor, measure : str
    low, high : str, int or float
        Values that are compared, the lower one first; ``off`` is lower than ``on``.
    difference : ProportionDifference
        Of the shares.
    expected : str
        ``raises`` or ``lowers``: what the share does as the factor grows, and by whom.
    source : str
    answer : str
        Of `detection.statistics.differences`.
    note : str
        What must be known of it.
    """

    factor: str
    measure: str
    low: FactorValue
    high: FactorValue
    difference: ProportionDifference
    expected: str
    source: str
    answer: str
    note: str = ""


@dataclass(frozen=True)
class ExperimentOutcome:
    """The finished runs of an experiment.

    Attributes
    ----------
    plan : ExperimentPlan
    rows : list of dict
        Of `summarise_run`, in the order of the runs.
    missing : list of str
        Runs that are not finished.
    """

    plan: ExperimentPlan
    rows: list[dict[str, Any]]
    missing: list[str]

    @property
    def deciding(self) -> str:
        """Rule that verdicts are of; empty where nothing is finished."""
        return next((r["name"] for row in self.rows for r in row["rules"] if r["decides"]), "")

    @property
    def measures(self) -> list[str]:
        """What is counted: of the deciding rule first."""
        names = [rule["name"] for rule in self.rows[0]["rules"]] if self.rows else []
        return [*sorted(names, key=lambda n: n != self.deciding), VERIFIED_COPIES, N_MEMORISED]

    def levels(self, factor: str) -> list[FactorLevel]:
        """Return what each value of a factor gave, from the lowest on.

        One factor at a time: of the runs that have all else as the base run. Of a full grid: of all
        runs with that value together, as soon as all runs are finished; each value then stands
        beside the same values of the others.
        """
        base = {name: values[0] for name, values in self.plan.factors.items()}
        if self.plan.full and self.missing:
            return []
        found = []
        for value in sorted(self.plan.factors[factor], key=lambda v: (v == "on", v)):
            rows = [
                row
                for row in self.rows
                if row["values"][factor] == value
                and (
                    self.plan.full
                    or all(row["values"][k] == v for k, v in base.items() if k != factor)
                )
            ]
            if rows:
                found.append(
                    FactorLevel(value, {m: _count_measure(rows, m) for m in self.measures})
                )
        return found

    def spread(self, measure: str) -> float | None:
        """Return how far shares lie apart between trainings that differ in their seed alone."""
        if "seed" not in self.plan.factors or len(levels := self.levels("seed")) < 2:
            return None
        shares = [level.counts[measure][0] / level.counts[measure][1] for level in levels]
        return max(shares) - min(shares)

    @property
    def answers(self) -> list[FactorAnswer]:
        """Of every factor that others have an answer for: its lowest against its highest value."""
        return [
            answer
            for name in self.plan.factors
            if FACTORS[name].expected and len(levels := self.levels(name)) > 1
            for answer in self._answers(name, levels[0], levels[-1])
        ]

    def _answers(self, name: str, low: FactorLevel, high: FactorLevel) -> Iterator[FactorAnswer]:
        factor = FACTORS[name]
        for measure in self.measures:
            difference = ProportionDifference(*low.counts[measure], *high.counts[measure])
            spread = self.spread(measure)
            answer = difference.answer(factor.expected, spread)
            yield FactorAnswer(
                name,
                measure,
                low.value,
                high.value,
                difference,
                factor.expected,
                factor.source,
                answer,
                self._note(name, measure, difference, answer, spread),
            )

    def _note(
        self,
        name: str,
        measure: str,
        difference: ProportionDifference,
        answer: str,
        spread: float | None,
    ) -> str:
        if name == "size" and measure == N_MEMORISED:
            return "falls by itself: as many volumes are sampled of more patients"
        if name == "size" and measure == "dar2024":
            return "more training volumes raise what this rule calls by chance"
        if answer == INCONCLUSIVE and spread is not None and abs(difference.value) <= spread:
            return f"two trainings with another seed differ by {spread:.1%}"
        if spread is None:
            return SINGLE_TRAINING_NOTE
        return ""

    def __str__(self) -> str:
        from napari_memscan.report.experiment import format_answers, format_run_table

        parts = [format_run_table(self.rows, self.plan.factors)]
        if answers := self.answers:
            parts.append(format_answers(answers, self.deciding))
        if self.missing:
            parts.append(f"not finished: {', '.join(self.missing)}")
        return "\n\n".join(parts)


def _count_measure(rows: Sequence[dict[str, Any]], measure: str) -> tuple[int, int]:
    """Return `k` of `n` of a measure over runs."""
    if measure == N_MEMORISED:
        return sum(row["n_mem"] for row in rows), sum(row["n_training"] for row in rows)
    n = sum(row["n"] for row in rows)
    if measure == VERIFIED_COPIES:
        return sum(row["verdicts"][Verdict.COPY] for row in rows), n
    return sum(r["n"] for row in rows for r in row["rules"] if r["name"] == measure), n


def collect_outcome(study: Study, out: str | Path, plan: ExperimentPlan) -> ExperimentOutcome:
    """Return what the finished runs in an experiment's folder found.

    Raises
    ------
    BadInput
        A result cannot be read.
    """
    rows, missing = [], []
    for run in plan.runs:
        path = Path(out) / "runs" / run.name / RESULT_FILE
        try:
            row = parse_json(path, dict[str, Any], "Delete it; the run then finishes in seconds.")
            # What was finished before a factor was named has that factor's base value.
            rows.append(row | {"values": dict(run.values)})
        except FileNotFoundError:
            missing.append(run.name)
    return ExperimentOutcome(plan, rows, missing)
