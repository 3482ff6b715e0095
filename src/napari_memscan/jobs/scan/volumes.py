"""A study's volumes as the chain of detection takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.config import StudyConfig
    from napari_memscan.detection.pipeline import DetectionChain
    from napari_memscan.detection.retrieval.training_search import SearchTask
    from napari_memscan.detection.scan import ScanSettings
    from napari_memscan.typing import Array, Triple, Vectors
    from napari_memscan.volumes.sources import VolumeEntry


def make_entry(study: Study, path: str, name: str, subject: str = "") -> VolumeEntry:
    """Return one volume of a study, by the path of its file and what results call it."""
    from napari_memscan.volumes.sources import VolumeEntry

    return VolumeEntry(name, partial(study.volume, path), partial(study.content_key, path), subject)


def list_entries(study: Study, *splits: Split) -> dict[Split, list[VolumeEntry]]:
    """Return the real volumes of splits; as ``synthetic`` all samples that there are."""
    found: dict[Split, list[VolumeEntry]] = {}
    for split in splits:
        if split == Split.SYNTHETIC:
            found[split] = [
                make_entry(study, str(study.sample_path(r)), r.sample) for r in study.samples()
            ]
        else:
            rows = study.cohort.rows(split)
            found[split] = [make_entry(study, row.path, row.name, row.subject_id) for row in rows]
    return found


def iter_vectors(study: Study, paths: Iterable[str]) -> Iterator[Vectors]:
    """Yield the vectors (dim,) of volumes of a study, from its cache where they are there."""
    from napari_memscan.detection.retrieval.entries import iter_embeddings

    entries = [make_entry(study, path, path) for path in paths]
    found = iter_embeddings(entries, study.config.preprocessing, study.embedder(), study.cache)
    for vector, _ in found:
        yield vector


def prepare_splits(
    study: Study, splits: Mapping[Split, Sequence[VolumeEntry]]
) -> Generator[Progress, None, dict[Split, list[SearchTask]]]:
    """Embed volumes and return what to search for, split by split."""
    from napari_memscan.detection.retrieval.entries import embed_splits, prepare_tasks

    recipe, cache = study.config.preprocessing, study.cache
    embedded = yield from embed_splits(splits, recipe, study.embedder(), cache)
    tasks = {}
    for split, entries in splits.items():
        tasks[split] = yield from prepare_tasks(entries, embedded[split][0], recipe, cache)
    return tasks


def open_chain(study: Study, training: Sequence[SearchTask]) -> DetectionChain:
    """Return the chain of detection as a study sets it, with its cache."""
    from napari_memscan.detection.pipeline import DetectionChain
    from napari_memscan.detection.retrieval.entries import fix_threads
    from napari_memscan.jobs.scan.decoder import load_decoder

    settings, embedder = get_settings(study.config), study.embedder()
    return DetectionChain(
        training,
        study.cache,
        settings.search(resolve_spacing(study)),
        settings,
        embed=fix_threads(embedder, study.cache),
        embedder_hash=embedder.hash,
        decoder=load_decoder(study),
    )


def get_settings(config: StudyConfig) -> ScanSettings:
    """Return what a scan of a study does with its volumes."""
    import os

    from napari_memscan.detection.scan import ScanSettings

    asked = config.verification
    return ScanSettings(
        retrieved=asked.retrieved,
        proposed=asked.proposed,
        verified=asked.verified,
        planted=asked.planted,
        q=config.rule.q,
        seed=config.seed,
        workers=asked.workers or os.cpu_count() or 1,
        k=config.k,
        rule=config.rule.name,
        quantile=config.rule.quantile,
        verify=asked.enabled,
    )


def resolve_spacing(study: Study) -> Triple:
    """Return the voxel size in mm of a study's preprocessed volumes.

    Without resampling it is the median of the training volumes'. Where one more volume changes
    that, all pairs are registered anew.
    """
    from napari_memscan.detection.retrieval.entries import compute_size_key
    from napari_memscan.volumes.spacing import compute_median_spacing, get_known_spacing

    recipe = study.config.preprocessing
    if recipe.spacing is not None:
        return recipe.spacing

    def measure(path: str) -> Any:
        key = compute_size_key(study.content_key(path))
        return study.cache.get(key, lambda: get_known_spacing(study.volume(path)))

    return compute_median_spacing([measure(row.path) for row in study.cohort.rows(Split.TRAINING)])


class StudyVolumes(Sequence[Any]):
    """Preprocessed volumes (X, Y, Z) of a study, read when they are asked for.

    Parameters
    ----------
    read : callable
        Returns one by its path, such as `Study.array`.
    paths : sequence of str
    """

    def __init__(self, read: Callable[[str], Array], paths: Sequence[str]) -> None:
        self._read, self._paths = read, paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: Any) -> Any:
        return self._read(self._paths[i])
