"""What a study's detector finds of copies planted in the study itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.decision.conformal import ConformalRule
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.detection.planting.perturbations import describe_largest
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.files import parse_json, write_json
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.decision.class_limits import ClassLimits
    from napari_memscan.detection.planting.plants import PlantedVolume
    from napari_memscan.detection.retrieval.search import SearchResult

FORMAT = 2
FILE_NAME = "selftest.json"

LABELS = (Verdict.COPY, Verdict.NEAR_DUPLICATE, Verdict.NOVEL)

WEAK_SENSITIVITY = 0.9
"""Below this share of planted volumes found, a kind is named as one that the detector misses."""


@dataclass(frozen=True)
class PerturbationResult:
    """What became of the planted volumes of one kind.

    Attributes
    ----------
    kind : str
        Of perturbation; see `perturbations.KINDS`.
    label : Verdict
        What they are; never undecided.
    n : int
        Planted.
    retrieved_1, retrieved_5, retrieved_k : int
        Of these, whose source was the first, among the first 5, or among all candidates; 0 for
        novel ones, which have no source here.
    verdicts : dict of Verdict to int
        How many were said to be what.
    above_all : int or None
        Of these, nearer than every one of the null: what can be called at the strictest level
        that the null knows. None where an older version measured.
    """

    kind: str
    label: Verdict
    n: int
    retrieved_1: int
    retrieved_5: int
    retrieved_k: int
    verdicts: dict[Verdict, int]
    above_all: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PerturbationResult:
        """Return what ``asdict`` made a dictionary of."""
        verdicts = {Verdict(verdict): n for verdict, n in values["verdicts"].items()}
        return cls(**values | {"label": Verdict(values["label"]), "verdicts": verdicts})

    @property
    def found(self) -> Proportion:
        """Called copy or near-duplicate: sensitivity, or for novel ones false calls."""
        return Proportion(
            self.verdicts[Verdict.COPY] + self.verdicts[Verdict.NEAR_DUPLICATE], self.n
        )

    @property
    def right(self) -> Proportion:
        """Given the verdict that they are."""
        return Proportion(self.verdicts[self.label], self.n)


@dataclass(frozen=True)
class SelfTest:
    """A study's detector measured on volumes planted in the study.

    Each planted volume is judged alone, at the level given: a volume is called where fewer than
    this share of new patients' volumes would be as near. A scan judges all volumes together and
    asks more of each; `above_all` says how many copies meet the most that it can ask.

    Attributes
    ----------
    kinds : tuple of PerturbationResult
    level : float
        Share of false calls allowed for.
    k : int
        Candidates that were retrieved.
    n_training, n_null : int
        Training volumes; validation subjects behind the null.
    displacement_limit, novel_limit : float or None
        In mm, and a score; of the study, learnt from other planted volumes.
    embedder, search_hash : str
        What searched.
    detector_hash : str
        See `CalibrationRecord.detector_hash`.
    seed : int
        Of planting.
    notes : tuple of str
        Where the detector stops working, in words.
    harder : tuple of PerturbationResult
        Of kinds that are `strength` times as strong: beyond what a copy is said to be, and in no
        sum. They tell how far the detector reaches.
    strength : float
    """

    kinds: tuple[PerturbationResult, ...]
    level: float
    k: int
    n_training: int
    n_null: int
    displacement_limit: float | None
    novel_limit: float | None
    embedder: str
    search_hash: str
    seed: int
    notes: tuple[str, ...] = ()
    format: int = FORMAT
    detector_hash: str = ""
    harder: tuple[PerturbationResult, ...] = ()
    strength: float = 1.0

    def sum(self, label: Verdict) -> PerturbationResult:
        """Return all kinds of one label together."""
        rows = [row for row in self.kinds if row.label == label]
        known = [row.above_all for row in rows if row.above_all is not None]
        return PerturbationResult(
            kind="all",
            label=label,
            n=sum(row.n for row in rows),
            retrieved_1=sum(row.retrieved_1 for row in rows),
            retrieved_5=sum(row.retrieved_5 for row in rows),
            retrieved_k=sum(row.retrieved_k for row in rows),
            verdicts={v: sum(row.verdicts[v] for row in rows) for v in Verdict},
            above_all=sum(known) if len(known) == len(rows) else None,
        )

    @property
    def without_power(self) -> bool:
        """Whether nothing can be called at this level, however near: the null is too small."""
        return is_null_too_small(self.n_null, self.level)

    @property
    def above_all(self) -> Proportion | None:
        """Planted copies nearer than every one of the null; None where nobody counted them."""
        row = self.sum(Verdict.COPY)
        return None if row.above_all is None or not row.n else Proportion(row.above_all, row.n)

    @property
    def sensitivity(self) -> Proportion:
        """Planted copies that were called copy or near-duplicate."""
        return self.sum(Verdict.COPY).found

    @property
    def specificity(self) -> Proportion:
        """Perturbed unrelated volumes that were not called."""
        novel = self.sum(Verdict.NOVEL).found
        return Proportion(novel.n - novel.k, novel.n)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return json.loads(json.dumps(asdict(self)))

    def save(self, folder: str | Path) -> None:
        """Write ``selftest.json``."""
        write_json(Path(folder) / FILE_NAME, self.to_dict())

    @classmethod
    def load(cls, folder: str | Path) -> SelfTest | None:
        """Read what `save` wrote; None where there is nothing.

        Raises
        ------
        BadInput
            The file is damaged or of another version; run ``memscan selftest`` again.
        """

        def parsed(values: Any) -> SelfTest:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']}, this version reads {FORMAT}")
            for name in ("kinds", "harder"):
                values[name] = tuple(PerturbationResult.from_dict(row) for row in values[name])
            values["notes"] = tuple(values["notes"])
            return cls(**values)

        try:
            return parse_json(Path(folder) / FILE_NAME, parsed, "Run 'memscan selftest' again.")
        except FileNotFoundError:
            return None

    def __str__(self) -> str:
        near = self.sum(Verdict.NEAR_DUPLICATE).found
        lines = [
            f"Planted in this study and judged one by one, at {self.level:.0%} false calls "
            f"({self.n_training} training volumes, {self.n_null} validation subjects, seed "
            f"{self.seed}); 95 % intervals.",
            f"sensitivity  {self.sensitivity} of planted copies called",
            f"             {near} of planted near-duplicates called",
            f"specificity  {self.specificity} of perturbed unrelated volumes not called",
            *self._stricter(),
            "",
            f"{'planted':28}{'n':>4}{'@1':>6}{'@5':>6}{f'@{self.k}':>6}  "
            f"{'called':>22}  {'right verdict':>22}"
            f"{'copy':>7}{'near':>6}{'novel':>7}{'undecided':>11}",
        ]
        usual = [(row, "") for row in (*self.kinds, *(self.sum(label) for label in LABELS))]
        for row, more in [*usual, *((row, f", {self.strength:g} times") for row in self.harder)]:
            if not row.n:
                continue
            name = f"{row.kind} ({row.label})" if row.kind == "all" else f"{row.kind}{more}"
            name = (
                f"unrelated, {name}" if row.label == Verdict.NOVEL and row.kind != "all" else name
            )
            shares = [
                f"{count / row.n:6.2f}" if row.label != Verdict.NOVEL else f"{'-':>6}"
                for count in (row.retrieved_1, row.retrieved_5, row.retrieved_k)
            ]
            lines.append(
                f"{name:28}{row.n:4}{''.join(shares)}  "
                f"{_format_rate(row.found):>22}  {_format_rate(row.right):>22}"
                f"{row.verdicts[Verdict.COPY]:7}{row.verdicts[Verdict.NEAR_DUPLICATE]:6}"
                f"{row.verdicts[Verdict.NOVEL]:7}{row.verdicts[Verdict.UNDECIDED]:11}"
            )
        lines += ["", f"{'is, and was called':28}" + "".join(f"{v:>22}" for v in Verdict)]
        for row in (self.sum(label) for label in LABELS):
            if row.n:
                cells = (f"{_format_rate(Proportion(row.verdicts[v], row.n)):>22}" for v in Verdict)
                lines.append(f"{row.label:28}{''.join(cells)}")
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    def _stricter(self) -> list[str]:
        lines = [
            "A scan asks more: it judges all volumes together, and few copies among many volumes "
            "are called only where each is nearer than all of the null."
        ]
        if self.above_all is not None:
            lines.append(f"             {self.above_all} of planted copies are that near")
        return lines


def _format_rate(rate: Proportion) -> str:
    low, high = rate.interval
    return f"{rate.k / rate.n:.2f} ({low:.2f} to {high:.2f})"


def is_null_too_small(n_null: int, level: float) -> bool:
    """Whether even a volume nearer than all of the null cannot be called at a level."""
    return 1 / (n_null + 1) > level


def measure_kinds(
    plants: Sequence[PlantedVolume],
    found: Sequence[SearchResult],
    nulls: Sequence[NDArray[np.float64]],
    limits: ClassLimits,
    level: float = 0.05,
) -> tuple[PerturbationResult, ...]:
    """Judge planted volumes one by one and count by kind.

    Parameters
    ----------
    plants, found : sequences
        What was planted, and what the search found of it.
    nulls : sequence of arrays
        The null of each: without the subject that a novel one was made of.
    limits : ClassLimits
        Learnt from other planted volumes.
    level : float
        Share of false calls allowed for.
    """
    rows: dict[tuple[Verdict, str], list[tuple[Verdict, int | None, int]]] = {}
    for one, what, null in zip(plants, found, nulls, strict=True):
        rule = ConformalRule(level).fit(null)
        decision = rule.decide([what.score], limits.novel_limit_)
        verdict = assign_verdicts([what.score], decision, limits, [what.displacement])[0][0]
        rank = None
        if one.label != Verdict.NOVEL and one.source in what.retrieved:
            rank = what.retrieved.index(one.source)
        rows.setdefault((one.label, one.kind), []).append((verdict, rank, decision.n_above_all))
    results = []
    for (label, kind), judged in rows.items():
        ranks = np.array([-1 if rank is None else rank for _, rank, _ in judged])
        results.append(
            PerturbationResult(
                kind=kind,
                label=label,
                n=len(judged),
                retrieved_1=int((ranks == 0).sum()),
                retrieved_5=int(((ranks >= 0) & (ranks < 5)).sum()),
                retrieved_k=int((ranks >= 0).sum()),
                verdicts={v: sum(verdict == v for verdict, *_ in judged) for v in Verdict},
                above_all=sum(above for *_, above in judged),
            )
        )
    return tuple(results)


def list_weaknesses(
    kinds: Sequence[PerturbationResult],
    k: int,
    n_null: int,
    level: float,
    harder: Sequence[PerturbationResult] = (),
    strength: float = 1.0,
) -> tuple[str, ...]:
    """Return where the detector stops working, in words; `harder` were changed more strongly."""
    notes = []
    if is_null_too_small(n_null, level):
        notes.append(
            f"No power: with {n_null} validation subjects nothing can be called at "
            f"{level:.0%} false calls; at least {int(np.ceil(1 / level)) - 1} are needed."
        )
    for row in kinds:
        if row.label == Verdict.NOVEL or not row.n:
            continue
        share = row.found.k / row.n
        if share < WEAK_SENSITIVITY:
            lost = row.n - row.retrieved_k
            why = f"; {lost} were not among {k} candidates" if lost else ""
            notes.append(
                f"Misses {1 - share:.0%} of volumes changed by: {row.kind} ({row.found}){why}."
            )
    weak = [row for row in harder if row.n and row.found.k / row.n < WEAK_SENSITIVITY]
    if weak:
        told = "; ".join(
            f"{row.kind} {describe_largest(row.kind, strength)} ({row.found.k} of {row.n} called)"
            for row in weak
        )
        notes.append(f"Stops working where a change is {strength:g} times as strong: {told}.")
    elif any(row.n for row in harder):
        notes.append(
            f"Also finds volumes changed {strength:g} times as strongly: "
            + ", ".join(f"{row.kind} {describe_largest(row.kind, strength)}" for row in harder)
            + "."
        )
    return tuple(notes)
