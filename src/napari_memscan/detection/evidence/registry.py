"""The registry of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_memscan.detection.evidence import compute
from napari_memscan.detection.evidence.result import MetricInputs, MetricResult
from napari_memscan.errors import BadInput

LARGER_IS_COPYING, SMALLER_IS_COPYING = "larger = more copying", "smaller = more copying"
CHANCE_CAVEAT = (
    "Flags some volumes by chance: compare it with what is expected if nothing were memorised."
)
QUALITY_CAVEAT = (
    "It praises copies: like FID it improves as duplication rises. Never read it without a metric "
    "of copying."
)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    key, title : str
        Short name; what it is, for people.
    formula : str
        In plain text. T training, V validation, S synthetic; r Pearson correlation of two vectors,
        d their Euclidean distance after centring and scaling to unit length.
    source : str
        Paper, with section or equation where there is one.
    direction : str
        What a larger or smaller value means.
    misleads : str
        When its number must not be trusted.
    unit : str
        ``share``, ``number`` or ``volumes``.
    needs : str
        ``vectors`` or ``volumes``.
    default : bool
        One of the few that matter.
    compute : callable
        Of `MetricInputs`.
    """

    key: str
    title: str
    formula: str
    source: str
    direction: str
    misleads: str
    unit: str
    needs: str
    default: bool
    compute: Callable[[MetricInputs], MetricResult]


METRICS: tuple[Metric, ...] = (
    Metric(
        "n_copies",
        "Synthetic volumes that are copies (N_copies)",
        "#{s in S: max over t of r(s, t) > tau} / |S|",
        "Dar et al. 2023 (arXiv 2307.01148), section 2.3",
        LARGER_IS_COPYING,
        CHANCE_CAVEAT,
        "share",
        "vectors",
        True,
        compute.n_copies,
    ),
    Metric(
        "n_mem",
        "Training volumes with at least one copy (N_mem)",
        "#{t in T: max over s of r(t, s) > tau} / |T|",
        "Dar et al. 2023 (arXiv 2307.01148), section 2.3",
        LARGER_IS_COPYING,
        "It grows with the number of synthetic volumes: without |S| it cannot be compared. "
        + CHANCE_CAVEAT,
        "share",
        "vectors",
        True,
        compute.n_mem,
    ),
    Metric(
        "rarefaction",
        "Memorised training volumes in all, unseen ones included",
        "N_mem(m) = sum over t of 1 - C(|S| - c_t, m) / C(|S|, m), c_t the copies of t; in all at "
        "least N_mem + (|S| - 1)/|S| * q1 (q1 - 1) / (2 (q2 + 1)), q1 and q2 volumes copied once "
        "and twice",
        "Hurlbert 1971; Chao 1984, 1987; Colwell et al. 2012, equations 9 and 17",
        LARGER_IS_COPYING,
        "A lower bound for this sampler and this number of steps, and only as good as tau: false "
        "copies are mostly seen once and raise it.",
        "volumes",
        "vectors",
        True,
        compute.rarefaction,
    ),
    Metric(
        "authpct",
        "Authentic synthetic volumes (AuthPct)",
        "#{s in S: d(s, t*) > min over t of d(t*, t)} / |S|, t* nearest to s in T",
        "Alaa et al. 2022 (arXiv 2102.08921), authenticity",
        SMALLER_IS_COPYING,
        "It depends on augmentation: copies that are rotated or flipped may count as authentic. "
        "Compare it with that of validation.",
        "share",
        "vectors",
        True,
        compute.authpct,
    ),
    Metric(
        "c_t",
        "Data-copying statistic (C_T)",
        "mean over 3 k-means cells, weighted by V, of (U - mn/2 + 0.5) / sqrt(mn(m+n+1)/12), U the "
        "Mann-Whitney statistic of min over t of d(s, t) against min over t of d(v, t)",
        "Meehan, Chaudhuri and Dasgupta 2020 (arXiv 2004.05675)",
        SMALLER_IS_COPYING + " (below about -3 hardly chance; far above 0: unlike training)",
        "It sees an excess of near volumes as a whole: a few copies among many novel or poor "
        "volumes do not show, and it varies much with augmentation.",
        "number",
        "vectors",
        True,
        compute.c_t,
    ),
    Metric(
        "fld_gap",
        "Generalisation gap of FLD",
        "100 (nll(T) - nll(V)), nll a dimension under Gaussians centred on S and fitted to T",
        "Jiralerspong et al. 2023 (arXiv 2302.04440)",
        SMALLER_IS_COPYING + " (negative = overfit)",
        "Somewhat below 0 without any copy, since the mixture is fitted to training; compare "
        "models, not the number with 0. Not comparable with other programs.",
        "number",
        "vectors",
        True,
        compute.generalisation_gap,
    ),
    Metric(
        "distance_ratio",
        "Synthetic volumes far nearer to one training volume than to the next",
        "#{s in S: d1(s) / d2(s) < 1/3} / |S|, d1 and d2 distances to the two nearest in T",
        "Yoon et al. 2023; Gu et al. 2023 (arXiv 2310.02664)",
        LARGER_IS_COPYING,
        "Two scans of one patient in training make d1 and d2 alike and hide a copy. 1/3 was set on "
        "pixels of small photographs.",
        "share",
        "vectors",
        True,
        compute.distance_ratio,
    ),
    Metric(
        "collisions",
        "Synthetic volumes that another one repeats",
        "#{s in S: max over other s' of r(s, s') > tau} / |S|",
        "after Carlini et al. 2023 (arXiv 2301.13188), extraction",
        LARGER_IS_COPYING,
        "Grows with |S|, and mode collapse shows likewise: alike is not yet copied from training.",
        "share",
        "vectors",
        True,
        compute.collisions,
    ),
    Metric(
        "dcr",
        "Closer to training than to equally many validation volumes (DCR)",
        "#{s in S: min over t of d(s, t) < min over v of d(s, v)} / |S|, |T| = |V|",
        "Platzer and Reutterer 2021, holdout-based assessment",
        LARGER_IS_COPYING + " (50 % if nothing is copied)",
        "The DCR delusion (2025): data that passed still leaked who was in training. A pass proves "
        "nothing; never the only gate.",
        "share",
        "vectors",
        False,
        compute.closest_record,
    ),
    Metric(
        "nl2",
        "Carlini's normalised distance (nL2)",
        "mean over S of d(s, t1) / (0.5 * mean of d(s, t) over the 50 nearest t)",
        "Carlini et al. 2023 (arXiv 2301.13188); Chen et al. 2024 (AMG), equation 8",
        SMALLER_IS_COPYING,
        "The limit 1.4 belongs to pixels of CIFAR-10, not to vectors of volumes; with fewer than "
        "50 training volumes it is another number.",
        "number",
        "vectors",
        False,
        compute.carlini,
    ),
    Metric(
        "fld",
        "Feature likelihood divergence (FLD)",
        "100 (nll(V) - nll of V under one half of T fitted to the other)",
        "Jiralerspong et al. 2023 (arXiv 2302.04440)",
        "larger = worse: less faithful, less diverse or copied",
        "It mixes quality and copying; fld_gap tells them apart. Not comparable with other "
        "programs.",
        "number",
        "vectors",
        False,
        compute.divergence,
    ),
    Metric(
        "precision",
        "Synthetic volumes among training volumes (precision)",
        "mean over s of [exists t: d(s, t) < r5(t)], r5(t) distance to the 5th nearest in T",
        "Kynkaanniemi et al. 2019 (arXiv 1904.06991)",
        "larger = more faithful, copies included",
        QUALITY_CAVEAT,
        "share",
        "vectors",
        False,
        compute.precision,
    ),
    Metric(
        "recall",
        "Training volumes among synthetic volumes (recall)",
        "mean over t of [exists s: d(s, t) < r5(s)], r5(s) distance to the 5th nearest in S",
        "Kynkaanniemi et al. 2019 (arXiv 1904.06991)",
        "larger = more diverse, copies included",
        QUALITY_CAVEAT,
        "share",
        "vectors",
        False,
        compute.recall,
    ),
    Metric(
        "density",
        "Training volumes around a synthetic one (density)",
        "mean over s of #{t: d(s, t) < r5(t)} / 5",
        "Naeem et al. 2020 (arXiv 2002.09797), section 3",
        "larger = more faithful, copies included",
        QUALITY_CAVEAT,
        "number",
        "vectors",
        False,
        compute.density,
    ),
    Metric(
        "coverage",
        "Training volumes with a synthetic one nearby (coverage)",
        "mean over t of [min over s of d(s, t) < r5(t)]",
        "Naeem et al. 2020 (arXiv 2002.09797), section 3",
        "larger = more diverse, copies included",
        QUALITY_CAVEAT,
        "share",
        "vectors",
        False,
        compute.coverage,
    ),
    Metric(
        "ms_ssim",
        "MS-SSIM of random synthetic pairs",
        "mean MS-SSIM over 100 random pairs of S, beside that of T",
        "Wang, Simoncelli and Bovik 2003; Odena et al. 2017",
        "larger = less diverse; compare with training",
        "It measures diversity, not copying: a model that copies every patient once is as diverse "
        "as they are. The same holds for the Vendi score.",
        "number",
        "volumes",
        False,
        compute.ms_ssim,
    ),
    Metric(
        "ncc",
        "Largest voxel correlation with a training volume (NCC)",
        "mean over S of the maximum over t of the correlation of voxels",
        "Akbar, Wang and Eklund 2023 (arXiv 2305.07644)",
        LARGER_IS_COPYING,
        "Blind to copies that are flipped, rotated or shifted, and high for any two volumes of one "
        "organ in one pose: compare with validation.",
        "number",
        "volumes",
        False,
        compute.voxels,
    ),
)
DEFAULT_METRICS: tuple[str, ...] = tuple(metric.key for metric in METRICS if metric.default)


def get_metric(key: str) -> Metric:
    """Return a metric by its key; BadInput names all keys."""
    for metric in METRICS:
        if metric.key == key:
            return metric
    raise BadInput(f"{key}: no such metric. There are {', '.join(m.key for m in METRICS)}.")
