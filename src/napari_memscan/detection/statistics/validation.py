"""What every statistic asks of its scores and subjects before it counts anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.errors import BadInput

Scores = NDArray[np.float64]


def check_scores(values: ArrayLike, what: str, least: int = 0) -> Scores:
    """Return scores as a 1-D array of float64, or say what is wrong with them.

    Parameters
    ----------
    values : array (n,)
        Larger is nearer.
    what : str
        For messages: which scores these are.
    least : int
        So many are needed.

    Raises
    ------
    BadInput
        Not numbers, not one-dimensional, not finite, or too few; names the first one.
    """
    try:
        scores = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{what} scores are no list of numbers: {error}.") from error
    if scores.ndim != 1:
        raise BadInput(f"{what} scores have shape {scores.shape}; one score a volume, (n,).")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise BadInput(
            f"{what} score {bad[0]} is {scores[bad[0]]} ({len(bad)} such scores). "
            "The embedding or that volume is damaged; scan it again or leave it out."
        )
    if len(scores) < least:
        raise BadInput(
            f"{len(scores)} {what} scores; at least {least} {'is' if least == 1 else 'are'} needed."
        )
    return scores


def check_flags(values: ArrayLike, what: str, n: int | None = None) -> NDArray[np.bool_]:
    """Return yes or no for each volume as a 1-D array, or say what is wrong.

    Parameters
    ----------
    values : array (n,) of bool, or of 0 and 1
    what : str
        For messages: which flags these are.
    n : int, optional
        So many are expected.

    Raises
    ------
    BadInput
        Anything but yes and no, not one-dimensional, or another number of them.
    """
    flags = np.asarray(values)
    if flags.ndim != 1 or (n is not None and len(flags) != n):
        expected = "(n,)" if n is None else f"({n},)"
        raise BadInput(f"{what} have shape {flags.shape}; {expected} is expected.")
    if flags.dtype != np.bool_:
        if len(flags) and not np.isin(flags, (0, 1)).all():
            raise BadInput(f"{what} hold other values than yes and no (True and False, 1 and 0).")
        flags = flags.astype(np.bool_)
    return flags


def number_subjects(subjects: Sequence[str] | None, n: int) -> NDArray[np.int64]:
    """Return for each of n volumes the number of its subject, from 0 by first appearance.

    Parameters
    ----------
    subjects : sequence of str, optional
        One a volume. Without them, or where one is empty, a volume is a subject of its own.
    n : int
        Number of volumes.

    Raises
    ------
    BadInput
        Another number of subjects than of volumes.
    """
    if subjects is None:
        return np.arange(n)
    if len(subjects) != n:
        raise BadInput(f"{len(subjects)} subjects for {n} volumes; one a volume is expected.")
    numbers: dict[object, int] = {}
    keys: list[object] = [s or (i,) for i, s in enumerate(subjects)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def select_nearest_per_subject(scores: Scores, subjects: Sequence[str] | None) -> Scores:
    """Return the largest score of each subject, in order of first appearance."""
    numbers = number_subjects(subjects, len(scores))
    nearest = np.full(numbers.max(initial=-1) + 1, -np.inf)
    np.maximum.at(nearest, numbers, scores)
    return nearest
