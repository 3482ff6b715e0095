"""What other settings of the chain would change, on the subjects set aside for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from _cohorts import SPACING, Batch, Split
from _scoring import area, confusion, macro_f1, tpr_at
from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.judgement import NullDistribution, decide, fit_class_limits
from napari_memscan.detection.planting.plants import (
    LIMIT_KINDS,
    PlantedVolume,
    draw_planted_volumes,
)
from napari_memscan.detection.retrieval.search import Search, SearchQuery, SearchResult

Measure = Callable[[object], float]


@dataclass
class Searched:
    """Everything that was searched for, with so many candidates verified that fewer can be tried.

    `planted` are (label, kind, Plant, Found).
    """

    null: list[SearchResult]
    subjects: list[str]
    planted: list[tuple[str, str, PlantedVolume, SearchResult]]
    batches: list[tuple[Batch, list[SearchResult]]]
    seed: int


def explore(job, study: Split, asked: list[Batch]) -> list[str]:
    """Return lines: mistakes of the default, then what other settings would change."""
    search = Search(verified=job.verified).fit(study.training.volumes)
    training, validation = study.training, study.validation
    excluded = [
        tuple(i for i, other in enumerate(training.subjects) if other == own)
        for own in validation.subjects
    ]

    def find(volume: np.ndarray, out: tuple[int, ...] = ()) -> SearchResult:
        return search.find(SearchQuery(partial(_same, volume), (), out))

    decode = study.decode or _same
    null = [find(decode(v), out) for v, out in zip(validation.volumes, excluded, strict=True)]
    planted = []
    for label, kinds in LIMIT_KINDS.items():
        sources = range(len(training.volumes))
        for p in draw_planted_volumes(
            kinds, job.sizes.planted, sources, study.shape, (study.seed, 1)
        ):
            volume = decode(p.load(lambda p=p: training.volumes[p.source], SPACING))
            planted.append((label, p.kind, p, find(volume)))
    batches = [(batch, [find(v) for v in batch.volumes]) for batch in asked]
    searched = Searched(null, validation.subjects, planted, batches, study.seed)
    return [*_mistakes(searched), *_verified(searched, job.verified), *_measures(searched)]


def _same(volume: np.ndarray) -> np.ndarray:
    return volume


def _measures_of(evidence: object) -> dict[str, Measure]:
    """Return every number of the evidence, larger is nearer, and a few combinations, by name."""
    found: dict[str, Measure] = {}
    for one in fields(evidence):  # type: ignore[arg-type]
        if isinstance(getattr(evidence, one.name), float):
            sign = -1 if one.name == "displacement" else 1
            found[one.name] = lambda e, name=one.name, sign=sign: sign * float(getattr(e, name))
    found["score x overlap"] = lambda e: e.score * e.overlap
    found["score x stillness"] = lambda e: e.score / (1 + e.displacement)
    names = [n for n in ("score", "correlation", "ssim", "worst") if n in found]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            found[f"mean of {a}, {b}"] = lambda e, a=a, b=b: (found[a](e) + found[b](e)) / 2
    return found


def find_best(found: SearchResult, verified: int, measure: Measure) -> float:
    """Return the largest value of a measure among the first candidates."""
    return max(measure(hit.evidence) for hit in found.hits if hit.rank < verified)


def _limits(
    searched: Searched,
    value: Callable[[SearchResult], float],
    kinds: Sequence[str] = (),
    **settings,
) -> tuple[NullDistribution, ClassLimits]:
    null = NullDistribution(np.array([value(f) for f in searched.null]), searched.subjects)
    of_kinds = {kind for _, kind, _, _ in searched.planted} & set(kinds)
    of: dict[str, list[float]] = {"copy": [], "near-duplicate": []}
    for label, kind, _, found in searched.planted:
        if kind in kinds or not of_kinds:
            of[label].append(value(found))
    limits = ClassLimits(seed=searched.seed, n_draws=1, **settings)
    return null, limits.fit(null.nearest_per_subject().scores, of["near-duplicate"], of["copy"])


def _verdicts(batch_scores: np.ndarray, null: NullDistribution, limits: ClassLimits) -> list[str]:
    return [verdict for verdict, _ in decide(batch_scores, null, limits, q=0.1).verdicts]


def _first(found: SearchResult, verified: int) -> SearchResult:
    """Return what a search would have found with fewer candidates verified."""
    return SearchResult(tuple(h for h in found.hits if h.rank < verified), found.retrieved)


def _both(searched: Searched, verified: int) -> tuple[NullDistribution, ClassLimits]:
    """Return the null and the limits of the chain as it is: by score, and by displacement."""
    null = [_first(f, verified).score for f in searched.null]
    planted = [_first(f, verified) for _, _, _, f in searched.planted]
    plants = [one for _, _, one, _ in searched.planted]
    of_null = NullDistribution(np.array(null), searched.subjects)
    return of_null, fit_class_limits(of_null, plants, planted, searched.seed)


def _mistakes(searched: Searched, verified: int = 3) -> list[str]:
    value = partial(find_best, verified=verified, measure=lambda e: e.score)
    null, limits = _both(searched, verified)
    each = np.sort(null.nearest_per_subject().scores)
    lines = [
        f"  {verified} verified: novel limit {limits.novel_limit_}, displacement limit "
        f"{limits.displacement_limit_}; null of {len(each)} subjects {each[0]:.3f} to "
        f"{each[-1]:.3f}, median {np.median(each):.3f}"
    ]
    for label, kinds in LIMIT_KINDS.items():
        for kind in kinds:
            own = np.array([value(f) for _, k, _, f in searched.planted if k == kind])
            quantiles = np.percentile(own, [0, 25, 50, 75, 100]).round(3)
            lines.append(f"  planted {label}, {kind}: min, quartiles, max {quantiles}")
    for batch, found in searched.batches:
        scores = np.array([value(f) for f in found])
        first = [_first(f, verified) for f in found]
        said = [v for v, _ in decide(scores, null, limits, q=0.1, found=first).verdicts]
        lines.append(f"  {batch.name}: scores and verdicts by class; why")
        for label in dict.fromkeys(batch.truth):
            rows = [i for i, t in enumerate(batch.truth) if t == label]
            quantiles = np.percentile(scores[rows], [0, 25, 50, 75, 100]).round(3)
            counts = Counter()
            for i in rows:
                where = (
                    _locate_source(found[i], batch.sources[i], verified) if label != "novel" else ""
                )
                counts[f"{said[i]}{where}"] += 1
            lines.append(f"    {label:16}{quantiles!s:44}{dict(counts)}")
    return lines


def _locate_source(found: SearchResult, source: int, verified: int) -> str:
    """Say how far the search came with a query whose source is known."""
    if source not in found.retrieved:
        return ", source not retrieved"
    rank = list(found.retrieved).index(source)
    if rank >= verified:
        return f", source at rank {rank}"
    hits = [hit for hit in found.hits if hit.rank < verified]
    return "" if hits[0].index == source else ", source lost after registration"


def _verified(searched: Searched, most: int) -> list[str]:
    lines = ["  candidates verified: macro-F1, and recall among them"]
    for verified in sorted({1, 2, 3, 5, most}):
        if verified > most:
            continue
        value = partial(find_best, verified=verified, measure=lambda e: e.score)
        null, limits = _both(searched, verified)
        cells = []
        for batch, found in searched.batches:
            scores = np.array([value(f) for f in found])
            first = [_first(f, verified) for f in found]
            said = [v for v, _ in decide(scores, null, limits, q=0.1, found=first).verdicts]
            f1 = macro_f1(confusion(batch.truth, said))
            pairs = [(f, s) for f, s in zip(found, batch.sources, strict=True) if s >= 0]
            inside = np.mean([s in f.retrieved[:verified] for f, s in pairs])
            cells.append(f"{batch.name} {f1:.3f}, recall {inside:.2f}")
        lines.append(f"    {verified:3}  " + "; ".join(cells))
    return lines


def _measures(searched: Searched, verified: int = 3) -> list[str]:
    evidence = searched.null[0].hits[0].evidence
    lines = [
        "  measures: by setting, AUC copy/near, near/novel; TPR of copies at 5 % FPR; macro-F1 "
        "with limits\n  from both kinds planted, with undecided taken for novel, and with limits "
        "from that setting's kinds alone"
    ]
    for name, measure in _measures_of(evidence).items():
        value = partial(find_best, verified=verified, measure=measure)
        null, limits = _limits(searched, value)
        cells = []
        for batch, found in searched.batches:
            scores, truth = np.array([value(f) for f in found]), np.array(batch.truth)
            said = _verdicts(scores, null, limits)
            forced = ["novel" if v == "undecided" else v for v in said]
            own = _limits(searched, value, sorted(set(batch.kinds)))
            alone = _verdicts(scores, *own)
            f1 = [macro_f1(confusion(batch.truth, v)) for v in (said, forced, alone)]
            cells.append(
                f"{area(scores, truth, 'near-duplicate', 'copy'):.3f} "
                f"{area(scores, truth, 'novel', 'near-duplicate'):.3f} "
                f"{tpr_at(scores, truth == 'copy'):.2f} " + " ".join(f"{x:.3f}" for x in f1)
            )
        lines.append(f"    {name:32}" + " | ".join(cells))
    return lines
