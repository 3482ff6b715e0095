"""Numbers and tables of `benchmarks/detection.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_memscan.detection.decision.conformal import ConformalRule
from napari_memscan.detection.statistics.intervals import compute_auc

CLASSES = ("copy", "near-duplicate", "novel")
VERDICTS = (*CLASSES, "undecided")
DRAWS = 200


def confusion(truth: Sequence[str], verdicts: Sequence[str]) -> np.ndarray:
    """Count (3, 4): rows are `CLASSES`, columns `VERDICTS`."""
    table = np.zeros((3, 4), int)
    for true, said in zip(truth, verdicts, strict=True):
        table[CLASSES.index(true), VERDICTS.index(said)] += 1
    return table


def macro_f1(table: np.ndarray, classes: Sequence[int] = (0, 1, 2)) -> float:
    """Return the mean F1 of the classes; undecided is wrong, a class never said counts 0."""
    scores = []
    for i in classes:
        right = table[i, i]
        wrong = table[i].sum() + table[:, i].sum()
        scores.append(2 * right / wrong if wrong else 0.0)
    return float(np.mean(scores))


def f1_interval(table: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the middle 95 % of macro-F1 when each class's queries are drawn anew."""
    random = np.random.default_rng(seed)
    rows = [(int(row.sum()), row / max(row.sum(), 1)) for row in table]
    drawn = [
        macro_f1(np.stack([random.multinomial(n, p) if n else p for n, p in rows]))
        for _ in range(1000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def tpr_at(scores: np.ndarray, positive: np.ndarray, fpr: float = 0.05) -> float:
    """Return the share of positives above what at most this share of the others exceeds."""
    if not positive.any() or positive.all():
        return float("nan")
    others = np.sort(scores[~positive])[::-1]
    limit = others[int(fpr * len(others))]
    return float((scores[positive] > limit).mean())


def area(scores: np.ndarray, truth: np.ndarray, lower: str, higher: str) -> float:
    """Return the area under the ROC curve of two classes; NaN without members."""
    low, high = scores[truth == lower], scores[truth == higher]
    return compute_auc(low, high) if len(low) and len(high) else float("nan")


def recall(ranked: Sequence[Sequence[int]], sources: Sequence[int], k: int) -> np.ndarray:
    """Say for each query that has a source whether it is among the first k."""
    pairs = zip(ranked, sources, strict=True)
    return np.array([source in list(rows)[:k] for rows, source in pairs if source >= 0])


def false_discoveries(
    scores: np.ndarray,
    truth: np.ndarray,
    null: np.ndarray,
    called: np.ndarray,
    q: float,
    seed: int,
    floor: float | None = None,
) -> tuple[float, float]:
    """Return false-discovery proportion and calls, means over batches of which half is novel.

    A batch holds all novel queries and as many others, drawn anew `DRAWS` times. `called` is used
    where there is no null: a fixed threshold does not depend on the batch. Up to `floor` nothing is
    called, as where verdicts are given.
    """
    random = np.random.default_rng(seed)
    novel, others = np.flatnonzero(truth == "novel"), np.flatnonzero(truth != "novel")
    n = min(len(novel), len(others))
    if not n:
        return float("nan"), 0.0
    rule = ConformalRule(q).fit(null) if len(null) else None
    proportions, calls = [], []
    for _ in range(DRAWS):
        rows = np.concatenate([novel[:n], random.choice(others, n, replace=False)])
        found = called[rows] if rule is None else rule.decide(scores[rows], floor).rejected
        calls.append(int(found.sum()))
        proportions.append(int(found[:n].sum()) / max(int(found.sum()), 1))
    return float(np.mean(proportions)), float(np.mean(calls))
