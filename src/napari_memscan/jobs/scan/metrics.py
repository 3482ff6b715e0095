"""Published metrics on the volumes of a scanned study."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.files import hash_file, write_json
from napari_memscan.jobs.scan.volumes import StudyVolumes, list_entries
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.detection.evidence import MetricResult

FILE = "evidence.json"


def evaluate_metrics(
    study: Study, keys: Sequence[str] | None = None
) -> Generator[Progress, None, list[MetricResult]]:
    """Compute metrics of copying and of quality, save them.

    The threshold is the paper's on the same vectors, at the study's quantile, whichever rule
    decides verdicts: the metrics are those that others publish.

    Parameters
    ----------
    study : Study
        Scanned.
    keys : sequence of str, optional
        Of `detection.evidence.registry.METRICS`; default the few that matter.

    Yields
    ------
    Progress
        After each volume, then after each metric.

    Returns
    -------
    list of MetricResult
        In that order; also in the study's ``scan/evidence.json``, in place of the last one. The
        same study gives the same bytes.

    Raises
    ------
    BadInput
        No such metric, the study is not scanned, or its volumes changed since.
    """
    from napari_memscan.detection.evidence import DEFAULT_METRICS, get_metric, iterate_metrics
    from napari_memscan.detection.retrieval.entries import embed_splits

    metrics = [get_metric(key) for key in (DEFAULT_METRICS if keys is None else keys)]
    with study.lock("evaluate"):
        result = study.result()
        if result is None:
            raise BadInput(
                f"{study.folder}: not scanned yet.", Hint(HintKind.SCAN, str(study.folder))
            )
        paths = {
            Split.TRAINING: [row.path for row in study.cohort.rows(Split.TRAINING)],
            Split.VALIDATION: [row.path for row in study.cohort.rows(Split.VALIDATION)],
            Split.SYNTHETIC: [str(study.sample_path(row)) for row in study.samples()],
        }
        if {sample.name for sample in result.samples} != {row.sample for row in study.samples()}:
            raise BadInput(
                f"{study.folder}: its synthetic volumes are not those of the last scan. Scan again."
            )
        vectors = yield from embed_splits(
            list_entries(study, *paths), study.config.preprocessing, study.embedder(), study.cache
        )
        results: list[MetricResult] = []
        for one in iterate_metrics(
            [metric.key for metric in metrics],
            training=vectors[Split.TRAINING][0],
            validation=vectors[Split.VALIDATION][0],
            synthetic=vectors[Split.SYNTHETIC][0],
            volumes={split: StudyVolumes(study.array, names) for split, names in paths.items()},
            subjects={
                split: [row.subject_id for row in study.cohort.rows(split)]
                for split in (Split.TRAINING, Split.VALIDATION)
            },
            quantile=study.config.rule.quantile,
            seed=study.config.seed,
        ):
            results.append(one)
            yield Progress(len(results), len(metrics), f"computed {one.key}")
        write_json(
            study.scan_dir / FILE,
            {
                "scan": hash_file(study.scan_dir / "summary.json"),
                "embedder": study.embedder().name,
                "embedder_hash": study.embedder().hash,
                "rule": "dar2024",
                "quantile": study.config.rule.quantile,
                "metrics": [one.to_dict() for one in results],
            },
        )
        return results
