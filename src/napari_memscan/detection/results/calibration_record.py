"""What stands behind the verdicts of a scan, in a form that is kept on disk and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_memscan.detection.decision.class_limits import ClassLimits
    from napari_memscan.detection.decision.exchangeability import ExchangeabilityTest
    from napari_memscan.detection.decision.judgement import BatchVerdicts
    from napari_memscan.typing import Interval


@dataclass(frozen=True)
class RuleResult:
    """What one rule says of all synthetic volumes.

    Attributes
    ----------
    name : str
        Such as ``dar2024``.
    measure : str
        What it compares: ``similarity`` of embeddings, or ``score`` after registration.
    decides : bool
        Verdicts are this rule's.
    threshold : float or None
        Above it (from it on, for ``conformal``) a volume is called; None where none is.
    threshold_interval : (float, float) or None
        95 %, subjects drawn anew.
    n_copies : int
        Synthetic volumes it calls.
    copies_interval : (float, float)
        Clopper-Pearson 95 % interval of their share.
    by_chance : str
        How many it would call if nothing were memorised, in words.
    mem_share : float or None
        Share of training volumes with at least one copy.
    mem_note : str
        How that was counted.
    note : str
        What keeps it from calling more; else empty.
    """

    name: str
    measure: str
    decides: bool
    threshold: float | None
    threshold_interval: Interval | None
    n_copies: int
    copies_interval: Interval
    by_chance: str
    mem_share: float | None
    mem_note: str
    note: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RuleResult:
        """Read what `dataclasses.asdict` gave, with lists where there were tuples."""
        return cls(**_convert_to_tuples(values))


@dataclass(frozen=True)
class CalibrationRecord:
    """How verdicts of a scan were calibrated.

    Attributes
    ----------
    q : float
        Largest expected share of novel volumes among those called.
    n_null : int
        Validation subjects behind the null.
    n_planted : int
        Planted copies, and as many near-duplicates.
    retrieved, verified : int
        Candidates of the correlator, and how many of them were registered.
    search_hash : str
        Of everything that the search depends on but the volumes.
    detector_hash : str
        Of all that decides what is found and called but the synthetic volumes: search, embedder,
        training and validation volumes, planted ones, decoder. Two of one hash are one detector.
        '' where no study was scanned.
    proposed : int or None
        Candidates of the embedder; None where no study was scanned.
    seed : int
        Of planting and bootstrap.
    least_discoveries, least_validation : int
        So many volumes must be nearer than all of the null to be called; so many validation
        subjects would let a single one be called.
    power_note : str
        Why volumes nearer than all of the null were not called; else empty.
    displacement_limit : float or None
        Up to which displacement, in mm, a called volume is a copy; see `ClassLimits`.
    novel_limit : float or None
        Score up to which volumes are novel.
    displacement_limit_interval, novel_limit_interval : (float, float) or None
        95 %.
    auc_copy_near, auc_near_novel : (float, float, float) or None
        Area under the ROC curve and its 95 % interval.
    limit_reasons : tuple of str
        Why a limit is None or must be doubted.
    assumption_shifted : bool
        The bulk of the synthetic scores is not that of the null.
    assumption_p : float or None
        Of that test; None where it could not be made.
    assumption : str
        What was found, and what it means for the verdicts.
    decoded : bool
        Validation and planted volumes went through the generator's autoencoder first, as what it
        makes does.
    """

    q: float
    n_null: int
    n_planted: int
    retrieved: int
    verified: int
    search_hash: str
    seed: int
    least_discoveries: int
    least_validation: int
    power_note: str
    displacement_limit: float | None
    displacement_limit_interval: Interval | None
    novel_limit: float | None
    novel_limit_interval: Interval | None
    auc_copy_near: tuple[float, float, float] | None
    auc_near_novel: tuple[float, float, float] | None
    limit_reasons: tuple[str, ...]
    assumption_shifted: bool
    assumption_p: float | None
    assumption: str
    decoded: bool = False
    detector_hash: str = ""
    proposed: int | None = None

    @classmethod
    def of(
        cls,
        judgement: BatchVerdicts,
        *,
        n_planted: int,
        retrieved: int,
        verified: int,
        search_hash: str,
        seed: int,
        decoded: bool = False,
        detector_hash: str = "",
        proposed: int | None = None,
    ) -> CalibrationRecord:
        """Take from a judgement what is to be kept."""
        decision, limits = judgement.decision, judgement.limits
        test: ExchangeabilityTest = judgement.assumption
        return cls(
            q=decision.q,
            n_null=decision.n_null,
            n_planted=n_planted,
            retrieved=retrieved,
            verified=verified,
            search_hash=search_hash,
            seed=seed,
            least_discoveries=decision.least_discoveries,
            least_validation=decision.least_validation,
            power_note=decision.power_note,
            displacement_limit=limits.displacement_limit_,
            displacement_limit_interval=limits.copy_interval_,
            novel_limit=limits.novel_limit_,
            novel_limit_interval=limits.novel_limit_interval_,
            auc_copy_near=_get_auc(limits, "copy/near-duplicate"),
            auc_near_novel=_get_auc(limits, "near-duplicate/novel"),
            limit_reasons=limits.reasons_,
            assumption_shifted=test.shifted,
            assumption_p=test.p_value,
            assumption=test.text,
            decoded=decoded,
            detector_hash=detector_hash,
            proposed=proposed,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CalibrationRecord:
        """Read what `dataclasses.asdict` gave, with lists where there were tuples."""
        return cls(**_convert_to_tuples(values))


def _convert_to_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _get_auc(limits: ClassLimits, pair: str) -> tuple[float, float, float] | None:
    found = limits.separability_.get(pair)
    if found is None or not np.isfinite(found.auc):
        return None
    return (found.auc, *found.interval)
