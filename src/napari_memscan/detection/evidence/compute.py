"""From the inputs of all metrics to the result of each."""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.decision.thresholds import compute_null_floor
from napari_memscan.detection.evidence import counts as counting
from napari_memscan.detection.evidence import coverage as balls_of
from napari_memscan.detection.evidence import ct, distances, diversity, fld, pixels
from napari_memscan.detection.evidence.arrays import draw_subset
from napari_memscan.detection.evidence.result import (
    MetricInputs,
    MetricResult,
    VolumesBySplit,
    make_mean_result,
    make_share_result,
)
from napari_memscan.detection.statistics.intervals import (
    bootstrap_over_subjects,
    clopper_pearson,
    draw_subjects,
)
from napari_memscan.errors import BadInput

CURVE_POINTS = 20


def n_copies(given: MetricInputs) -> MetricResult:
    """Share of synthetic volumes above tau to a training volume."""
    k = counting.count_copies(*_get_raw_vectors(given), given.threshold)
    floor = compute_null_floor(len(given.training), len(given.validation), given.quantile)
    values = {"copies": k, "threshold": given.threshold}
    return make_share_result(
        "n_copies", given, k, len(given.synthetic), expected=floor, values=values
    )


def n_mem(given: MetricInputs) -> MetricResult:
    """Share of training volumes with at least one copy."""
    each = counting.count_copies_per_volume(*_get_raw_vectors(given), given.threshold)
    k = int((each > 0).sum())
    floor = compute_null_floor(len(given.synthetic), len(given.validation), given.quantile)
    values = {"memorised": k, "threshold": given.threshold}
    return make_share_result("n_mem", given, k, len(given.training), expected=floor, values=values)


def rarefaction(given: MetricInputs) -> MetricResult:
    """N_mem over the number of synthetic volumes, and those not yet seen."""
    each = counting.count_copies_per_volume(*_get_raw_vectors(given), given.threshold)
    n = len(given.synthetic)
    sizes = np.unique(np.linspace(1, n, min(n, CURVE_POINTS)).round().astype(np.int64))
    curve = counting.compute_rarefaction(each, n, sizes)
    half, full = counting.compute_rarefaction(each, n, [max(1, n // 2), n])
    total = counting.estimate_unseen(each, n)
    note = ""
    if total.once == 0 and full:
        note = "Each memorised volume was copied twice or more: none is expected to be unseen."
    floor = compute_null_floor(n, len(given.validation), given.quantile)
    if clopper_pearson(round(float(full)), len(each))[0] <= floor:
        note = (
            f"N_mem is not above what chance gives ({floor:.1%} of training): this counts "
            "false copies, and says nothing of memorised volumes."
        )
    return MetricResult(
        "rarefaction",
        total.estimate,
        total.interval,
        "log-normal 95 % (Chao 1987)" if total.interval else "",
        values={
            "sizes": sizes.tolist(),
            "n_mem": [round(float(x), 9) for x in curve],
            "n_mem at half": round(float(half), 9),
            "n_mem at all": round(float(full)),
            "new for one more": total.once / n,
            "copied once": total.once,
            "copied twice": total.twice,
        },
        n=given.sizes,
        note=note,
    )


def authpct(given: MetricInputs) -> MetricResult:
    """Share of authentic synthetic volumes."""
    own = distances.find_authentic(given.training, given.synthetic)
    held = distances.find_authentic(given.training, given.validation)
    return make_share_result(
        "authpct", given, int(own.sum()), len(own), expected=float(held.mean())
    )


def distance_ratio(given: MetricInputs) -> MetricResult:
    """Share of synthetic volumes with d1/d2 below 1/3."""
    own = distances.compute_neighbour_ratio(given.training, given.synthetic)
    held = distances.compute_neighbour_ratio(given.training, given.validation)
    k = int((own < distances.RATIO_LIMIT).sum())
    return make_share_result(
        "distance_ratio",
        given,
        k,
        len(own),
        expected=float((held < distances.RATIO_LIMIT).mean()),
        values={
            "memorised": k,
            "mean ratio": float(own.mean()),
            "mean ratio of validation": float(held.mean()),
            "5th percentile": float(np.percentile(own, 5)),
            "5th percentile of validation": float(np.percentile(held, 5)),
        },
    )


def carlini(given: MetricInputs) -> MetricResult:
    """Mean of Carlini's normalised distance."""
    own = distances.compute_carlini_ratio(given.training, given.synthetic)
    held = distances.compute_carlini_ratio(given.training, given.validation)
    k = min(distances.CARLINI_K, len(given.training))
    note = "" if k == distances.CARLINI_K else f"k = {k}, as there are no more training volumes."
    return make_mean_result(
        "nl2",
        given,
        own,
        held,
        {
            "share below 1.4": float((own < distances.CARLINI_LIMIT).mean()),
            "share of validation below 1.4": float((held < distances.CARLINI_LIMIT).mean()),
            "k": k,
        },
        note,
    )


def closest_record(given: MetricInputs) -> MetricResult:
    """Share of synthetic volumes closer to training than to validation."""
    found = distances.compare_closest_records(
        given.training, given.validation, given.synthetic, given.seed
    )
    return make_share_result(
        "dcr",
        given,
        found.closer,
        found.n_synthetic,
        expected=0.5,
        values={
            "ties": found.ties,
            "compared with each": found.n_compared,
            "5th percentile": found.synthetic_p5,
            "5th percentile of validation": found.validation_p5,
        },
        seed=given.seed,
    )


def c_t(given: MetricInputs) -> MetricResult:
    """Data-copying statistic."""
    found = ct.compute_data_copying(
        given.training, given.validation, given.synthetic, seed=given.seed
    )
    used = len(found.z)
    values = {
        "z of cells": list(found.z),
        "validation in cells": list(found.validation),
        "synthetic in cells": list(found.synthetic),
    }
    note = "" if used == found.cells else f"{used} of {found.cells} cells hold enough volumes."
    return MetricResult(
        "c_t", found.c_t, expected=0.0, values=values, n=given.sizes, seed=given.seed, note=note
    )


def divergence(given: MetricInputs) -> MetricResult:
    """Feature likelihood divergence."""
    found = _compute_likelihood(given)
    return MetricResult(
        "fld", found.fld, values={"used": found.used}, n=given.sizes, seed=given.seed
    )


def generalisation_gap(given: MetricInputs) -> MetricResult:
    """Generalisation gap of the feature likelihood divergence."""
    found = _compute_likelihood(given)
    random = np.random.default_rng(given.seed)
    sets = {"training": found.training, "validation": found.validation}
    draws = []
    for name, values in sets.items():
        subjects = given.subjects.get(name)
        if subjects is not None:  # Of the vectors that went in.
            subjects = draw_subset(np.asarray(subjects, object), fld.MOST, given.seed).tolist()
        draws.append(draw_subjects(subjects, len(values), random))
    gaps = [
        100 * (found.training[ours].mean() - found.validation[others].mean())
        for ours, others in islice(zip(*draws, strict=True), 1000)
    ]
    low, high = np.percentile(gaps, [2.5, 97.5])
    return MetricResult(
        "fld_gap",
        found.gap,
        (float(low), float(high)),
        "percentile bootstrap 95 % over subjects, the mixture as fitted",
        values={"used": found.used},
        n=given.sizes,
        seed=given.seed,
    )


def precision(given: MetricInputs) -> MetricResult:
    """Share of synthetic volumes among training volumes."""
    return _make_hits_result(
        "precision",
        given,
        balls_of.compute_neighbour_balls(given.training, given.synthetic).precise,
    )


def recall(given: MetricInputs) -> MetricResult:
    """Share of training volumes among synthetic volumes."""
    return _make_hits_result(
        "recall", given, balls_of.compute_neighbour_balls(given.training, given.synthetic).recalled
    )


def coverage(given: MetricInputs) -> MetricResult:
    """Share of training volumes with a synthetic one nearby."""
    return _make_hits_result(
        "coverage", given, balls_of.compute_neighbour_balls(given.training, given.synthetic).covered
    )


def density(given: MetricInputs) -> MetricResult:
    """Mean number of balls around a synthetic volume, over k."""
    inside = balls_of.compute_neighbour_balls(given.training, given.synthetic).density
    return make_mean_result("density", given, inside)


def collisions(given: MetricInputs) -> MetricResult:
    """Share of synthetic volumes that another one repeats."""
    own = diversity.count_collisions(given.vectors["synthetic"], given.threshold)
    real = diversity.count_collisions(given.vectors["training"], given.threshold, "training")
    return make_share_result(
        "collisions",
        given,
        own.colliding,
        len(given.synthetic),
        expected=compute_null_floor(
            len(given.synthetic) - 1, len(given.validation), given.quantile
        ),
        values={
            "colliding": own.colliding,
            "groups": own.groups,
            "largest group": own.largest,
            "share in training": real.colliding / len(given.training),
        },
    )


def ms_ssim(given: MetricInputs) -> MetricResult:
    """MS-SSIM of random pairs of synthetic volumes."""
    volumes = _require_volumes(given)
    found = {}
    for name in ("synthetic", "training"):
        pairs = diversity.draw_pairs(len(volumes[name]), diversity.PAIRS, given.seed)
        found[name] = diversity.compute_ms_ssim(volumes[name], pairs, name)
    own, real = found["synthetic"], found["training"]
    width, scales = diversity.choose_scales(volumes["synthetic"][0].shape)
    return MetricResult(
        "ms_ssim",
        float(own.mean()),
        bootstrap_over_subjects(own, None, np.mean, seed=given.seed),
        "percentile bootstrap 95 % over pairs",
        expected=float(real.mean()),
        values={
            "difference to training": float(own.mean() - real.mean()),
            "synthetic pairs": len(own),
            "training pairs": len(real),
            "scales": scales,
            "window": width,
        },
        n=given.sizes,
        seed=given.seed,
        note="" if scales == 5 else f"{scales} of 5 scales fit into these volumes.",
    )


def voxels(given: MetricInputs) -> MetricResult:
    """Mean of the largest voxel correlation with a training volume."""
    volumes = _require_volumes(given)
    own, _ = pixels.compute_max_correlation(volumes["training"], volumes["synthetic"])
    held, _ = pixels.compute_max_correlation(
        volumes["training"], volumes["validation"], what="validation"
    )
    limit = float(np.percentile(held, 95))
    return make_mean_result(
        "ncc",
        given,
        own,
        held,
        {
            "largest": float(own.max()),
            "95th percentile of validation": limit,
            "share above it": float((own > limit).mean()),
        },
    )


def _get_raw_vectors(given: MetricInputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return given.vectors["training"], given.vectors["synthetic"]


def _compute_likelihood(given: MetricInputs) -> fld.FeatureLikelihoodDivergence:
    return fld.compute_feature_likelihood(
        given.training, given.validation, given.synthetic, given.seed
    )


def _make_hits_result(key: str, given: MetricInputs, hits: NDArray[np.bool_]) -> MetricResult:
    return make_share_result(key, given, int(hits.sum()), len(hits))


def _require_volumes(given: MetricInputs) -> VolumesBySplit:
    if given.volumes is None:
        raise BadInput("it needs the volumes themselves, and only vectors were given.")
    return given.volumes
