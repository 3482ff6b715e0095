"""How far readers agree with each other, beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Decision

CODES: dict[str, int] = {decision: code for code, decision in enumerate(Decision)}

DecisionsByReader = Mapping[str, Mapping[str, ReadingEvent]]
"""Reader to case to standing decision; see `Standing.by_reader`."""
N_BOOTSTRAP = 2000
"""Of the bootstrap over cases."""


@dataclass(frozen=True)
class Kappa:
    """Agreement of readers beyond chance.

    Attributes
    ----------
    name : str
        ``Cohen`` for two readers, ``Fleiss`` for more.
    readers : tuple of str
        Who.
    value : float or None
        At most 1; 0 is what chance gives. None where it is not defined.
    interval : (float, float) or None
        95 %: from the asymptotic variance (Cohen), or the bootstrap over cases (Fleiss).
    agreed : float or None
        Cohen: share of cases with the same decision. Fleiss: share of agreeing pairs of readers.
    n_cases : int
        Read by all of these readers.
    left_out : tuple of str
        Cases that some of them read and others did not.
    note : str
        Why there is no value or interval, or what is to be known of them.
    """

    name: str
    readers: tuple[str, ...]
    value: float | None
    interval: tuple[float, float] | None
    agreed: float | None
    n_cases: int
    left_out: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        who = " and ".join(self.readers) if len(self.readers) < 3 else ", ".join(self.readers)
        text = f"{self.name}'s kappa of {who}: "
        if self.value is None:
            text += "not defined"
        else:
            text += f"{self.value:.2f}"
            if self.interval:
                text += f" (95 % interval {self.interval[0]:.2f} to {self.interval[1]:.2f})"
        text += f", {self.n_cases} cases"
        if self.agreed is not None:
            text += f", {self.agreed:.0%} agree"
        if self.left_out:
            text += f"; {len(self.left_out)} left out, not read by all"
        return f"{text}. {self.note}".strip()


def compute_kappa(
    readings: DecisionsByReader, readers: Sequence[str] | None = None, seed: int = 0
) -> Kappa:
    """Return Cohen's kappa of two readers, or Fleiss' of more.

    All three decisions are categories: unsure is an opinion. Only cases that every reader read
    count; the others are named.

    Parameters
    ----------
    readings : DecisionsByReader
        Of one stage.
    readers : sequence of str, optional
        Which; else all, by name.
    seed : int
        Of the bootstrap: the same gives the same interval.

    Raises
    ------
    BadInput
        Fewer than two readers, or a name that decided nothing.
    """
    names = tuple(readers) if readers is not None else tuple(sorted(readings))
    unknown = [name for name in names if name not in readings]
    if unknown:
        raise BadInput(f"{unknown[0]}: no such reader. There are {', '.join(sorted(readings))}.")
    if len(set(names)) < 2:
        raise BadInput("agreement needs the decisions of two readers at least.")
    every = sorted({case for name in names for case in readings[name]})
    cases = [case for case in every if all(case in readings[name] for name in names)]
    left_out = tuple(case for case in every if case not in set(cases))
    codes = np.array(
        [[CODES[readings[name][case].decision] for name in names] for case in cases], dtype=np.int64
    ).reshape(len(cases), len(names))
    value, interval, agreed, note = (
        _compute_cohen_kappa if len(names) == 2 else _compute_fleiss_kappa
    )(codes, seed)
    name = "Cohen" if len(names) == 2 else "Fleiss"
    return Kappa(name, names, value, interval, agreed, len(cases), left_out, note)


def compute_pairwise_kappas(readings: DecisionsByReader) -> list[Kappa]:
    """Return Cohen's kappa of every two readers, by name."""
    return [compute_kappa(readings, pair) for pair in combinations(sorted(readings), 2)]


_KappaEstimate = tuple[float | None, tuple[float, float] | None, float | None, str]


def _explain_undefined(codes: NDArray[np.int64]) -> str:
    if len(codes) < 2:
        return f"{len(codes)} cases were read by all of them; at least 2 are needed."
    if len(np.unique(codes)) == 1:
        said = list(Decision)[int(codes.flat[0])]
        return f"All said '{said}' of every case: what chance would give cannot be told."
    return ""


def _compute_cohen_kappa(codes: NDArray[np.int64], _seed: int) -> _KappaEstimate:
    from statsmodels.stats.inter_rater import cohens_kappa

    agreed = float((codes[:, 0] == codes[:, 1]).mean()) if len(codes) else None
    note = _explain_undefined(codes)
    if note:
        return None, None, agreed, note
    table = np.zeros((len(Decision), len(Decision)))
    np.add.at(table, (codes[:, 0], codes[:, 1]), 1)
    used = np.flatnonzero(table.sum(0) + table.sum(1))
    # Its test against chance, which nobody asks for here, divides by what may be nought.
    with np.errstate(invalid="ignore", divide="ignore"):
        found = cohens_kappa(table[np.ix_(used, used)])
    if found.var_kappa <= 0:
        return float(found.kappa), None, agreed, "No interval: these decisions show no variation."
    low, high = max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp))
    few = "With fewer than 30 cases its interval is rough." if len(codes) < 30 else ""
    return float(found.kappa), (low, high), agreed, few


def _compute_fleiss_kappa(codes: NDArray[np.int64], seed: int) -> _KappaEstimate:
    from statsmodels.stats.inter_rater import fleiss_kappa

    counts = np.stack([(codes == i).sum(1) for i in range(len(Decision))], axis=1)
    n = codes.shape[1]
    agreed = float((counts * (counts - 1)).sum(1).mean() / (n * (n - 1))) if len(codes) else None
    note = _explain_undefined(codes)
    if note:
        return None, None, agreed, note
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(N_BOOTSTRAP):
        sample = counts[random.integers(len(counts), size=len(counts))]
        # A draw in which everybody says the same of everything has no kappa.
        if np.count_nonzero(sample.sum(0)) > 1:
            drawn.append(float(fleiss_kappa(sample)))
    value = float(fleiss_kappa(counts))
    if len(drawn) < N_BOOTSTRAP / 2:
        return value, None, agreed, "No interval: too few cases differ from each other."
    low, high = np.percentile(drawn, [2.5, 97.5])
    if low == high:
        return value, None, agreed, "No interval: these decisions show no variation."
    lost = N_BOOTSTRAP - len(drawn)
    said = (
        f"{lost} of {N_BOOTSTRAP} draws had no kappa and are left out of the interval."
        if lost
        else ""
    )
    return value, (float(low), float(high)), agreed, said
