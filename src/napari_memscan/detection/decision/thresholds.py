"""From similarities to a threshold tau: the paper's rule, what it flags by chance, and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_memscan.detection.retrieval.neighbours import NeighbourIndex, standardise_vectors
from napari_memscan.detection.statistics.intervals import bootstrap_over_subjects
from napari_memscan.detection.statistics.validation import check_scores, number_subjects
from napari_memscan.errors import BadInput


class PaperRule:
    """The threshold of Dar et al. 2023 (section 2.3), as their published notebook computes it.

    tau is one minus the 5th percentile of the correlation distance from each training volume to
    its nearest validation volume, which is the 95th percentile of these similarities.

    Parameters
    ----------
    quantile : float
        In (0, 1); the paper's is 0.95.

    Attributes
    ----------
    threshold_ : float
        tau: a synthetic volume is called a copy when its similarity is larger.
    null_ : array (n_training,), float32
        Similarity of each training volume to its nearest validation volume.
    """

    name = "dar2024"

    def __init__(self, quantile: float = 0.95) -> None:
        self.quantile = quantile

    def fit(self, training: NDArray[np.float32], validation: NDArray[np.float32]) -> PaperRule:
        """Learn tau from training (n, d) and validation (m, d) vectors."""
        if not 0 < self.quantile < 1:
            raise BadInput(f"rule.quantile {self.quantile}: a number between 0 and 1 is expected.")
        standardise_vectors(validation, "validation")
        standardise_vectors(training, "training")
        nearest, _ = NeighbourIndex().fit(validation).kneighbors(training, 1)
        self.null_ = nearest[:, 0]
        distances = 1.0 - self.null_.astype(np.float64)
        self.threshold_ = float(1.0 - np.percentile(distances, self._percentile()))
        return self

    def interval(
        self, subjects: Sequence[str] | None = None, n_draws: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """Return the 95 % interval of tau, by drawing training subjects anew.

        Parameters
        ----------
        subjects : sequence of str, optional
            Of the training volumes; without them, a volume is a subject of its own.
        n_draws, seed : int
            Of the bootstrap.

        Notes
        -----
        The validation volumes stay: a nearest one among volumes drawn with repetition is farther
        than among as many new patients, and such intervals would lie below tau. How tau depends on
        who is in validation is not in this interval.
        """

        def tau(null: NDArray[np.float64]) -> float:
            return float(1.0 - np.percentile(1.0 - null, self._percentile()))

        return bootstrap_over_subjects(self.null_, subjects, tau, n=n_draws, seed=seed)

    def _percentile(self) -> float:
        # Rounded since 100 * (1 - 0.95) is a little more than 5: enough to call a tie a copy.
        return round(100 * (1 - self.quantile), 9)

    def is_copy(self, similarities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which similarities lie above tau."""
        result: NDArray[np.bool_] = np.asarray(similarities, np.float64) > self.threshold_
        return result


def compute_null_floor(n_compared: int, n_validation: int, quantile: float = 0.95) -> float:
    """Return the share that the paper's rule flags when nothing is memorised.

    tau is set on maxima over `n_validation` volumes but applied to maxima over `n_compared`: the
    more there are, the larger the maximum, by chance alone. For homogeneous embeddings the share
    is ``1 - quantile ** (n_compared / n_validation)``.

    Parameters
    ----------
    n_compared : int
        Training volumes for N_copies; synthetic volumes for N_mem.
    n_validation : int
        Volumes the threshold was set on.
    quantile : float
        Of the rule.

    Returns
    -------
    float
        In [0, 1].
    """
    return float(1 - quantile ** (n_compared / n_validation))


@dataclass(frozen=True)
class MemorisationEstimate:
    """N_mem on synthetic subsets as large as the validation set.

    Attributes
    ----------
    share : float
        Mean share of training volumes with a copy in a subset, in [0, 1].
    interval : (float, float)
        Middle 95 % of the subsets: which synthetic volumes were drawn, no other uncertainty.
    threshold : float
        tau, mean over the subsets where validation had to be drawn from too.
    size : int
        Volumes in a subset.
    n_subsets, seed : int
        How many, and from which seed.
    """

    share: float
    interval: tuple[float, float]
    threshold: float
    size: int
    n_subsets: int
    seed: int


class SizeMatchedRule:
    """The paper's rule with tau set on maxima over as many volumes as it is applied to.

    For N_copies tau is the 95th percentile of the similarity of each *validation* volume to its
    nearest training volume: a maximum over the training set, as it is for a synthetic volume. So
    about 5 % are flagged by chance at any size, not `compute_null_floor`.

    Parameters
    ----------
    quantile : float
        In (0, 1).
    n_draws : int
        Of the bootstrap over subjects.
    n_subsets : int
        Of the synthetic volumes, for `n_mem`.
    seed : int
        Of both.

    Attributes
    ----------
    threshold_ : float
        tau: a synthetic volume is called a copy when its similarity is larger.
    interval_ : (float, float)
        95 % interval of tau, by drawing subjects anew.
    null_ : array (n_validation,), float64
        What it was set on.
    n_subjects_ : int
        Among them.
    """

    name = "size-matched"

    def __init__(
        self, quantile: float = 0.95, n_draws: int = 1000, n_subsets: int = 200, seed: int = 0
    ) -> None:
        self.quantile = quantile
        self.n_draws = n_draws
        self.n_subsets = n_subsets
        self.seed = seed

    def fit(self, null_scores: ArrayLike, subjects: Sequence[str] | None = None) -> SizeMatchedRule:
        """Learn tau from the similarity of each validation volume to its nearest training volume.

        Parameters
        ----------
        null_scores : array (n_validation,)
            Larger is nearer.
        subjects : sequence of str, optional
            One a validation volume; without them, a volume is a subject of its own.
        """
        percentile = self._percentile()
        self.null_ = check_scores(null_scores, "validation", 1)

        def tau(scores: NDArray[np.float64]) -> float:
            return float(np.percentile(scores, percentile))

        self.n_subjects_ = int(number_subjects(subjects, len(self.null_)).max()) + 1
        self.threshold_ = tau(self.null_)
        self.interval_ = bootstrap_over_subjects(
            self.null_, subjects, tau, n=self.n_draws, seed=self.seed
        )
        return self

    def is_copy(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which scores lie above tau."""
        result: NDArray[np.bool_] = check_scores(scores, "synthetic") > self.threshold_
        return result

    def n_mem(
        self,
        training: NDArray[np.float32],
        validation: NDArray[np.float32],
        synthetic: NDArray[np.float32],
    ) -> MemorisationEstimate:
        """Return N_mem of synthetic subsets as large as the validation set; needs no `fit`.

        tau is the paper's: the quantile of each training volume's similarity to its nearest
        validation volume. Where there are fewer synthetic than validation volumes, subsets of
        validation are drawn instead, and tau is set on each.

        Parameters
        ----------
        training, validation, synthetic : arrays (n, d)
            Vectors of one embedder.

        Raises
        ------
        BadInput
            No vectors, NaN or constant ones (names the row), or two lengths.
        """
        percentile = self._percentile()
        if self.n_subsets < 1:
            raise BadInput(f"{self.n_subsets} subsets; at least 1 is needed.")
        unit = {
            name: standardise_vectors(vectors, name).astype(np.float64)
            for name, vectors in [
                ("training", training),
                ("validation", validation),
                ("synthetic", synthetic),
            ]
        }
        if len({v.shape[1] for v in unit.values()}) > 1 or not all(map(len, unit.values())):
            shapes = ", ".join(f"{name} {v.shape}" for name, v in unit.items())
            raise BadInput(f"{shapes}: at least one vector each and one length d are expected.")
        size = min(len(validation), len(synthetic))
        random = np.random.default_rng(self.seed)
        thresholds, shares = [], []
        taus = _find_nearest_of_subsets(unit["training"], unit["validation"], size, random, self)
        for tau, nearest in zip(
            np.percentile(taus, percentile, axis=1),
            _find_nearest_of_subsets(unit["training"], unit["synthetic"], size, random, self),
            strict=True,
        ):
            thresholds.append(tau)
            shares.append(float((nearest > tau).mean()))
        low, high = np.percentile(shares, [2.5, 97.5])
        return MemorisationEstimate(
            share=float(np.mean(shares)),
            interval=(float(low), float(high)),
            threshold=float(np.mean(thresholds)),
            size=size,
            n_subsets=self.n_subsets,
            seed=self.seed,
        )

    def _percentile(self) -> float:
        if not 0 < self.quantile < 1:
            raise BadInput(f"rule.quantile {self.quantile}: a number between 0 and 1 is expected.")
        return round(100 * self.quantile, 9)


def _find_nearest_of_subsets(
    training: NDArray[np.float64],
    others: NDArray[np.float64],
    size: int,
    random: np.random.Generator,
    rule: SizeMatchedRule,
    block: int = 256,
) -> NDArray[np.float64]:
    """Return (n_subsets, n_training) similarities to the nearest within each random subset."""
    n = len(others)
    # The whole set is one subset: the same for all of them, so it is worked out once.
    subsets = (
        [np.arange(n)]
        if size == n
        else [np.sort(random.choice(n, size, replace=False)) for _ in range(rule.n_subsets)]
    )
    drawn = np.zeros((len(subsets), n), bool)
    for i, subset in enumerate(subsets):
        drawn[i, subset] = True
    # A subset's nearest is the first of all that it holds. Among this many of the nearest, a
    # subset has none in about one of ten million rows; those are looked at whole.
    few = min(n, -(-16 * n // size))
    nearest = np.empty((len(subsets), len(training)))
    for start in range(0, len(training), block):
        rows = slice(start, start + block)
        similarities = training[rows] @ others.T
        if size == n:
            nearest[0, rows] = similarities.max(axis=1)
            continue
        best = np.argpartition(similarities, n - few, axis=1)[:, n - few :]
        values = np.take_along_axis(similarities, best, axis=1)
        for i, subset in enumerate(subsets):
            largest = np.where(drawn[i][best], values, -np.inf).max(axis=1)
            without = np.flatnonzero(np.isneginf(largest))
            largest[without] = similarities[without][:, subset].max(axis=1)
            nearest[i, rows] = largest
    return np.broadcast_to(nearest, (rule.n_subsets, len(training)))
