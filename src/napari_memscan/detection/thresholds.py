"""From similarities to a threshold tau: the paper's rule, and what it flags by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.neighbours import NeighbourIndex, standardised
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
        standardised(validation, "validation")
        standardised(training, "training")
        nearest, _ = NeighbourIndex().fit(validation).kneighbors(training, 1)
        self.null_ = nearest[:, 0]
        distances = 1.0 - self.null_.astype(np.float64)
        # Rounded since 100 * (1 - 0.95) is a little more than 5: enough to call a tie a copy.
        percentile = round(100 * (1 - self.quantile), 9)
        self.threshold_ = float(1.0 - np.percentile(distances, percentile))
        return self

    def is_copy(self, similarities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which similarities lie above tau."""
        result: NDArray[np.bool_] = np.asarray(similarities, np.float64) > self.threshold_
        return result


def null_floor(n_compared: int, n_validation: int, quantile: float = 0.95) -> float:
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
