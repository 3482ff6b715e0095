"""How far scores of training volumes lie above those of validation volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.statistics.intervals import clopper_pearson, compute_auc_interval
from napari_memscan.errors import BadInput

Floats = NDArray[np.float64]
BLOCK = 200
"""Resamples at a time: memory stays small with any cohort."""


@dataclass(frozen=True)
class TprAtFpr:
    """Share of training volumes above the threshold that this share of validation volumes exceeds.

    Attributes
    ----------
    fpr : float
        Share of validation volumes allowed above the threshold.
    tpr : float or None
        Share of training volumes above it; None without power.
    interval : (float, float) or None
        The wider of Clopper-Pearson and the bootstrap over subjects.
    least : int
        Validation subjects that are needed.
    reason : str
        Why there is none; else empty.
    """

    fpr: float
    tpr: float | None
    interval: tuple[float, float] | None
    least: int
    reason: str = ""


@dataclass(frozen=True)
class RocAnalysis:
    """How well scores tell training from validation volumes.

    Attributes
    ----------
    auc : float
        Chance that a training volume scores above a validation volume, ties counted half.
    interval : (float, float)
        Of the AUC: the wider of a bootstrap over subjects and Newcombe's score interval.
    p_value : float
        Of an AUC as large when subjects are shuffled between the splits; one-sided.
    success_rate : float
        Best balanced accuracy over all thresholds ("attack success rate").
    success_rate_by_chance : float
        Its mean when subjects are shuffled: the best of many thresholds is above 0.5 by chance.
    rates : tuple of TprAtFpr
        True-positive rates at small false-positive rates.
    """

    auc: float
    interval: tuple[float, float]
    p_value: float
    success_rate: float
    success_rate_by_chance: float
    rates: tuple[TprAtFpr, ...]


def analyse_roc(
    training: Sequence[float] | Floats,
    validation: Sequence[float] | Floats,
    training_subjects: Sequence[Any] | None = None,
    validation_subjects: Sequence[Any] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
    rates: Sequence[float] = (0.01, 0.001),
) -> RocAnalysis:
    """Say how well scores tell training from validation volumes.

    Parameters
    ----------
    training, validation : sequences of float
        Scores; larger: rather a training volume.
    training_subjects, validation_subjects : sequences, optional
        Whose each volume is; by default each is another subject.
    seed : int
        Of bootstrap and shuffling.
    resamples : int
        Of each.
    confidence : float
        Of the intervals.
    rates : sequence of float
        False-positive rates.

    Returns
    -------
    Separation
        The same inputs give the same numbers.

    Raises
    ------
    BadInput
        Fewer than 2 subjects in a split, or a score that is not finite.
    """
    splits = [np.asarray(training, float), np.asarray(validation, float)]
    owners = []
    for name, scores, given in zip(
        ("training", "validation"), splits, (training_subjects, validation_subjects), strict=True
    ):
        subjects = list(range(len(scores))) if given is None else list(given)
        if len(subjects) != len(scores):
            raise BadInput(f"{name}: {len(scores)} scores, but {len(subjects)} subjects.")
        if len(set(subjects)) < 2:
            raise BadInput(
                f"{name}: {len(set(subjects))} subjects; at least 2 in each split are needed to "
                "compare them. Add volumes of other subjects."
            )
        if not np.isfinite(scores).all():
            where = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise BadInput(f"{name}[{where}]: its score is not finite. Check this volume.")
        owners.append(np.unique([str(s) for s in subjects], return_inverse=True)[1])
    n, m = (int(owner.max()) + 1 for owner in owners)
    scores = np.concatenate(splits)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    is_training = np.arange(len(scores)) < len(splits[0])
    owner = np.concatenate([owners[0], owners[1] + n])

    def measured(weights: Floats, member: NDArray[np.bool_]) -> Floats:
        return _compute_measures(
            (weights * member)[:, order], (weights * ~member)[:, order], ends, rates
        )

    one = np.ones((1, len(scores)))
    auc, success, *found = measured(one, is_training[None])[0]
    random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    drawn = np.concatenate(
        [measured(w, is_training[None]) for w in _draw_bootstraps(random, n, m, owner, resamples)]
    )
    random = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    shuffled = np.concatenate(
        [measured(one, member) for member in _draw_shuffles(random, n, m, owner, resamples)]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    score = compute_auc_interval(float(auc), n, m, confidence)
    return RocAnalysis(
        auc=float(auc),
        interval=(min(float(low[0]), score[0]), max(float(high[0]), score[1])),
        p_value=float(1 + (shuffled[:, 0] >= auc - 1e-12).sum()) / (resamples + 1),
        success_rate=float(success),
        success_rate_by_chance=float(shuffled[:, 1].mean()),
        rates=tuple(
            _build_tpr(
                fpr, tpr, len(splits[0]), m, (float(low[2 + i]), float(high[2 + i])), confidence
            )
            for i, (fpr, tpr) in enumerate(zip(rates, found, strict=True))
        ),
    )


def _build_tpr(
    fpr: float, tpr: float, n: int, subjects: int, drawn: tuple[float, float], confidence: float
) -> TprAtFpr:
    least = ceil(round(1 / fpr, 6))
    if subjects < least:
        reason = f"no power at n = {subjects} validation subjects; at least {least} are needed"
        return TprAtFpr(fpr, None, None, least, reason)
    low, high = clopper_pearson(round(tpr * n), n, confidence)
    return TprAtFpr(fpr, float(tpr), (min(low, drawn[0]), max(high, drawn[1])), least)


def _compute_measures(
    training: Floats, validation: Floats, ends: NDArray[np.intp], rates: Sequence[float]
) -> Floats:
    """Return AUC, best balanced accuracy, and TPR at each rate, one row a resample.

    Parameters
    ----------
    training, validation : arrays (b, n)
        How often each volume counts in its split, columns ordered by falling score.
    ends : array of int
        Last column of each group of equal scores: only there a threshold can be.
    """
    zero = np.zeros((len(training), 1))
    tpr, fpr = (
        np.hstack([zero, np.cumsum(w, axis=1)[:, ends] / w.sum(axis=1, keepdims=True)])
        for w in (training, validation)
    )
    auc = (np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1)
    success = 0.5 + (tpr - fpr).max(axis=1) / 2
    at = [np.where(fpr <= rate + 1e-12, tpr, 0).max(axis=1) for rate in rates]
    return np.stack([auc, success, *at], axis=1)


def _iterate_blocks(resamples: int) -> Iterator[int]:
    for first in range(0, resamples, BLOCK):
        yield min(BLOCK, resamples - first)


def _draw_bootstraps(
    random: np.random.Generator, n: int, m: int, owner: NDArray[np.intp], resamples: int
) -> Iterator[Floats]:
    """Yield how often each volume counts when subjects are drawn within each split."""
    for size in _iterate_blocks(resamples):
        counts = [random.multinomial(k, np.full(k, 1 / k), size) for k in (n, m)]
        yield np.hstack(counts)[:, owner].astype(float)


def _draw_shuffles(
    random: np.random.Generator, n: int, m: int, owner: NDArray[np.intp], resamples: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield which volumes are training when subjects are shuffled between the splits."""
    for size in _iterate_blocks(resamples):
        labels = np.tile(np.arange(n + m) < n, (size, 1))
        yield random.permuted(labels, axis=1)[:, owner]
