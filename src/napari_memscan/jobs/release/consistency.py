"""Whether scan, samples, settings and the files that readers saw still belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.detection.results.scan_result import hash_references
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Split, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.review.events import ReadingEvent
    from napari_memscan.volumes.cohort import CohortRow

MAX_NAMED = 5
"""So many samples are named in a message."""


def abbreviate_names(samples: Iterable[str]) -> str:
    """Return the first samples by name, and how many there are more."""
    names = list(samples)
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def require_current_scan(study: Study, rows: Mapping[str, SampleRow]) -> ScanResult:
    """Return the last scan if it is one of these samples, as they are, with these settings."""
    result, scan = study.result(), Hint(HintKind.SCAN, str(study.folder))
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet.", scan)
    scanned = {s.name: s.content for s in result.samples}
    paths = {sample: study.sample_path(row) for sample, row in rows.items()}
    new = [sample for sample in rows if sample not in scanned]
    if new:
        raise BadInput(
            f"{len(new)} samples are newer than the last scan: {abbreviate_names(new)}.", scan
        )
    gone = [sample for sample, path in paths.items() if not path.exists()]
    if gone:
        raise BadInput(
            f"the files of {len(gone)} samples are missing: {abbreviate_names(gone)}. Restore them."
        )
    changed = [
        sample for sample, path in paths.items() if study.content_key(path) != scanned[sample]
    ]
    if changed:
        raise BadInput(
            f"the files of {len(changed)} samples are not those that were scanned: "
            f"{abbreviate_names(changed)}. Restore them, or scan what is there.",
            scan,
        )
    if result.references != hash_references(
        *(
            [(_get_content(study, row), row.subject_id) for row in study.cohort.rows(split)]
            for split in (Split.TRAINING, Split.VALIDATION)
        )
    ):
        raise BadInput(
            "the training and validation volumes, or what cohort.csv says of them, are not those "
            "of the last scan.",
            scan,
        )
    config, c = study.config, result.calibration
    if (
        result.rule != config.rule.name
        or result.preprocessing != config.preprocessing.model_dump(mode="json")
        or (c is not None and c.q != config.rule.q)
        or (result.rule != "conformal" and result.quantile != config.rule.quantile)
    ):
        raise BadInput("study.toml has another rule or preprocessing than the last scan.", scan)
    from napari_memscan.detection.planting.plants import LIMIT_KINDS

    asked = config.verification
    if asked.enabled != (c is not None) or (
        c is not None
        and (
            (c.retrieved, c.verified) != (asked.retrieved, asked.verified)
            or c.proposed != asked.proposed
            or c.n_planted != asked.planted * len(LIMIT_KINDS[Verdict.COPY])
        )
    ):
        raise BadInput("study.toml has another [verification] than the last scan.", scan)
    # Code that comes with an embedder is not run only to ask for its hash.
    if not config.embedder_trust and result.embedder_hash != study.embedder().hash:
        raise BadInput("the embedder is not the one of the last scan.", scan)
    return result


def _get_content(study: Study, row: CohortRow) -> str:
    """Return what stands for a volume: as it is, or as it was where it is gone."""
    return study.content_key(row.path) if Path(row.path).exists() else row.content


def require_unmodified_files(
    study: Study, rows: Mapping[str, SampleRow], by_reader: Mapping[str, Mapping[str, ReadingEvent]]
) -> None:
    """Refuse samples whose file is not the one that a reader saw."""
    other = []
    for sample, row in rows.items():
        seen = {
            decisions[sample].evidence.get("sample_sha256") or ""
            for decisions in by_reader.values()
            if sample in decisions
        } - {""}
        if seen and seen != {study.sha256(study.sample_path(row))}:
            other.append(sample)
    if other:
        raise BadInput(
            f"the files of {len(other)} samples are not those that were read:"
            f" {abbreviate_names(other)}. Restore them, or scan and read again."
        )
