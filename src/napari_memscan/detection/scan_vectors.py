"""The whole of detection on vectors, with what image space says of the same volumes if known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_memscan.detection.compare_rules import (
    EmbeddingSimilarities,
    RuleName,
    apply_rules,
    count_memorised,
)
from napari_memscan.detection.decision.thresholds import compute_null_floor
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.detection.results.scan_result import Neighbour, SampleResult, ScanResult
from napari_memscan.detection.retrieval.neighbours import standardise_vectors
from napari_memscan.detection.statistics.equality import (
    list_equality_warnings,
    refuse_equal_vectors,
)
from napari_memscan.detection.statistics.intervals import clopper_pearson
from napari_memscan.errors import BadInput
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.decision.conformal import BatchDecision
    from napari_memscan.detection.decision.judgement import BatchVerdicts
    from napari_memscan.detection.results.calibration_record import CalibrationRecord, RuleResult
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.typing import Vectors
    from napari_memscan.volumes.preprocessing import Preprocessing


def scan_vectors(
    training: Vectors,
    validation: Vectors,
    synthetic: Vectors,
    *,
    training_names: Sequence[str],
    synthetic_names: Sequence[str],
    validation_names: Sequence[str] = (),
    synthetic_contents: Sequence[str] = (),
    references: str = "",
    embedder: Embedder,
    k: int = 5,
    rule: RuleName = "conformal",
    quantile: float = 0.95,
    q: float = 0.1,
    subjects: Sequence[str] | None = None,
    training_subjects: Sequence[str] | None = None,
    judgement: BatchVerdicts | None = None,
    calibration: CalibrationRecord | None = None,
    null_scores: Sequence[float] = (),
    preprocessing: Preprocessing | None = None,
    warnings: Iterable[str] = (),
) -> ScanResult:
    """Find neighbours, apply all rules, and call verdicts by one of them.

    Parameters
    ----------
    training, validation, synthetic : arrays (n, d)
        Vectors of one embedder.
    training_names, synthetic_names, validation_names : sequences of str
        Of the rows; those of validation only serve messages.
    synthetic_contents : sequence of str
        What stands for each synthetic volume, for the record; see `compute_content_key`.
    references : str
        What stands for training and validation volumes, for the record; see `hash_references`.
    embedder : Embedder
        What made the vectors; only its name and hash are used.
    k : int
        Neighbours kept for each sample.
    rule : {"conformal", "size-matched", "dar2024"}
        Which one decides.
    quantile : float
        Of the two rules with a tau; the paper's is 0.95.
    q : float
        Of the conformal rule: largest expected share of novel volumes among those called.
    subjects : sequence of str, optional
        Of the validation volumes.
    training_subjects : sequence of str, optional
        Of the training volumes; only the interval of the paper's tau rests on them.
    judgement : BatchVerdicts, optional
        Of the synthetic volumes in image space; without it all rules compare similarities.
    calibration : CalibrationRecord, optional
        Of that judgement, for the record.
    null_scores : sequence of float
        Of that judgement: scores of the validation volumes.
    preprocessing : Preprocessing, optional
        For the record.
    warnings : iterable of str
        Carried into the result.

    Returns
    -------
    ScanResult
        The same inputs give the same result, to the byte.

    Raises
    ------
    BadInput
        Fewer than 2 training, 1 validation or 1 synthetic volume; a vector that holds NaN or has
        the same value everywhere, with its name; training or validation vectors that are all
        (nearly) equal.

    Notes
    -----
    By the paper's rule N_copies counts synthetic volumes whose nearest training volume is above
    tau, N_mem training volumes whose nearest synthetic volume is (Dar et al. 2023, section 2.3).

    Below `compare_rules.MIN_VALIDATION` validation volumes the two rules with a tau count all the
    same, since that is the rule, but no sample is called: every verdict is ``undecided``. The
    conformal rule knows its own power.
    """
    if len(training) < 2 or len(validation) < 1:
        raise BadInput(
            f"{len(training)} training and {len(validation)} validation volumes; at least 2 and 1 "
            "are needed to set a threshold."
        )
    if len(synthetic) < 1:
        raise BadInput("there are no synthetic volumes. Generate some, or name their folder.")
    standardise_vectors(training, "training", training_names)
    standardise_vectors(validation, "validation", validation_names)
    standardise_vectors(synthetic, "synthetic", synthetic_names)
    refuse_equal_vectors(training, "training")
    refuse_equal_vectors(validation, "validation")
    similarities = EmbeddingSimilarities(training, validation, synthetic, k)
    rules, paper, decision = apply_rules(
        similarities,
        decides=rule,
        quantile=quantile,
        q=q,
        subjects=subjects,
        training_subjects=training_subjects,
        judgement=judgement,
    )
    deciding = next(r for r in rules if r.decides)
    said = _call_verdicts(rule, deciding, similarities, decision, judgement)
    samples = _build_samples(
        similarities,
        judgement,
        said,
        decision,
        training_names,
        synthetic_names,
        synthetic_contents or [""] * len(synthetic),
    )
    scored = deciding.measure == "score"
    if rule == "conformal":
        n_copies = sum(verdict == Verdict.COPY for verdict, _ in said)
        n_mem = count_memorised(similarities, decision, judgement)
        null = tuple(null_scores) if scored else tuple(float(v) for v in similarities.null)
    else:
        n_copies = deciding.n_copies
        counted = similarities.of_training.astype(np.float64) > (deciding.threshold or 0.0)
        n_mem = int(counted.sum())
        null = tuple(float(v) for v in (paper.null_ if rule == "dar2024" else similarities.null))
    floors = (
        (
            compute_null_floor(len(training), len(validation), quantile),
            compute_null_floor(len(synthetic), len(validation), quantile),
        )
        if rule == "dar2024"
        else (None, None)
    )
    return ScanResult(
        measure=deciding.measure,
        threshold=deciding.threshold,
        rule=rule,
        quantile=quantile,
        embedder=embedder.name,
        embedder_hash=embedder.hash,
        preprocessing=preprocessing.model_dump(mode="json") if preprocessing else None,
        references=references,
        n_training=len(training),
        n_validation=len(validation),
        n_synthetic=len(synthetic),
        n_copies=n_copies,
        copies_interval=clopper_pearson(n_copies, len(synthetic)),
        n_near=sum(verdict == Verdict.NEAR_DUPLICATE for verdict, _ in said),
        n_mem=n_mem,
        mem_interval=clopper_pearson(n_mem, len(training)),
        null_floor_copies=floors[0],
        null_floor_mem=floors[1],
        null=null,
        samples=samples,
        rules=rules,
        tau=paper.threshold_,
        calibration=calibration,
        warnings=(*warnings, *list_equality_warnings(training, training_names, synthetic)),
    )


def _call_verdicts(
    rule: RuleName,
    deciding: RuleResult,
    similarities: EmbeddingSimilarities,
    decision: BatchDecision,
    judgement: BatchVerdicts | None,
) -> list[tuple[Verdict, str]]:
    """Return verdict and reason of each sample."""
    nearest = similarities.nearest[:, 0]
    if rule == "conformal":
        return judgement.verdicts if judgement is not None else assign_verdicts(nearest, decision)
    if deciding.note:
        return [(Verdict.UNDECIDED, deciding.note)] * len(nearest)
    above = nearest.astype(np.float64) > (deciding.threshold or 0.0)
    return [(Verdict.COPY if copy else Verdict.NOVEL, "") for copy in above]


def _build_samples(
    similarities: EmbeddingSimilarities,
    judgement: BatchVerdicts | None,
    said: list[tuple[Verdict, str]],
    decision: BatchDecision,
    training_names: Sequence[str],
    synthetic_names: Sequence[str],
    synthetic_contents: Sequence[str],
) -> tuple[SampleResult, ...]:
    """Return all samples with their neighbours, nearest first."""
    samples = []
    for i, (verdict, reason) in enumerate(said):
        near = dict(
            zip(similarities.indices[i].tolist(), similarities.nearest[i].tolist(), strict=True)
        )
        hits = judgement.found[i].hits if judgement is not None else ()
        verified = [
            Neighbour(
                training_names[hit.index],
                near.pop(hit.index) if hit.index in near else similarities.between(hit.index, i),
                score=hit.evidence.score,
                correlation=hit.evidence.correlation,
                ssim=hit.evidence.ssim,
                overlap=hit.evidence.overlap,
                displacement=hit.evidence.displacement,
                transform=tuple(float(v) for v in hit.evidence.transform.ravel()),
            )
            for hit in hits
        ]
        others = [Neighbour(training_names[j], value) for j, value in near.items()]
        neighbours = (verified + others)[: max(len(verified), similarities.indices.shape[1])]
        samples.append(
            SampleResult(
                name=synthetic_names[i],
                neighbour=neighbours[0].name,
                similarity=float(similarities.nearest[i, 0]),
                verdict=verdict,
                reason=reason,
                neighbours=tuple(neighbours),
                score=hits[0].evidence.score if hits else None,
                p_value=float(decision.p_values[i]),
                content=synthetic_contents[i],
            )
        )
    samples.sort(
        key=lambda s: (-(s.similarity if s.score is None else s.score), -s.similarity, s.name)
    )
    return tuple(samples)
