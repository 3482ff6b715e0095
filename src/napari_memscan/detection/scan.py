"""The whole of detection on volumes without any study."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.files import hash_json
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
from napari_memscan.volumes.sources import VolumesLike, VolumeSource, refuse_overlap
from napari_memscan.volumes.spacing import (
    compute_median_spacing,
    get_known_spacing,
    list_spacing_warnings,
)

if TYPE_CHECKING:
    from napari_memscan.detection.compare_rules import RuleName
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.volumes.cache import ArrayCache
    from napari_memscan.volumes.volume import Volume


class PreprocessedVolumes:
    """Volumes of a source as arrays (X, Y, Z) in [0, 1], read when asked for.

    Parameters
    ----------
    source : Source
    preprocessing : Preprocessing
    """

    def __init__(self, source: VolumeSource, preprocessing: Preprocessing) -> None:
        self.source, self.preprocessing = source, preprocessing

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> NDArray[np.float32]:
        return self.preprocessing.apply(self.source.read(i))


def scan(
    training: VolumesLike,
    validation: VolumesLike,
    synthetic: VolumesLike,
    *,
    embedder: Embedder | str | Path | None = None,
    k: int = 5,
    preprocessing: Preprocessing | None = None,
    rule: RuleName = "conformal",
    quantile: float = 0.95,
    q: float = 0.1,
    verify: bool = True,
    workers: int = 1,
    seed: int = 1,
    cache: ArrayCache | None = None,
) -> ScanResult:
    """Scan synthetic volumes for copies of training volumes, without a study.

    Parameters
    ----------
    training, validation, synthetic : path, list of paths, or array (N, X, Y, Z)
        A folder is searched for volumes; of a CSV table (see `volumes.importers.import_csv`)
        the rows of that split are taken, so that one table can be given three times.
    embedder : Embedder, path or None
        A checkpoint folder, or None for the training-free low-resolution embedder.
    k : int
        Neighbours kept for each sample.
    preprocessing : Preprocessing, optional
        Default: the embedder's own if it has one, else the 1st to 99th percentile of each
        volume, cropped or padded to the median shape of the training volumes.
    rule : {"conformal", "size-matched", "dar2024"}
        Which one decides; all are reported.
    quantile : float
        Of the two rules with a tau; the paper's is 0.95.
    q : float
        Of the conformal rule: largest expected share of novel volumes among those called.
    verify : bool
        Register the nearest candidates and let what is alike afterwards decide; without it the
        conformal rule compares embeddings.
    workers : int
        Processes that register. The result does not depend on it.
    seed : int
        Of the planted copies that class limits are learnt from.
    cache : ArrayCache, optional
        Keeps vectors of files. Volumes are read one by one: memory holds one of them, the
        vectors, and a small image of each training volume.

    Returns
    -------
    ScanResult
        Prints as a summary.

    Raises
    ------
    BadInput
        Nothing found, a damaged volume, the same file or subject in training and validation.

    Examples
    --------
    >>> result = scan("train/", "held_out/", "generated/")  # doctest: +SKIP
    >>> print(result)  # doctest: +SKIP
    """
    from napari_memscan.detection.detector import CopyDetector
    from napari_memscan.detection.retrieval.search import Search
    from napari_memscan.embedders.loading import load_embedder

    embed: Embedder = (
        load_embedder(embedder)
        if embedder is None or isinstance(embedder, str | Path)
        else embedder
    )
    splits = {
        "training": VolumeSource(training, "training"),
        "validation": VolumeSource(validation, "validation"),
        "synthetic": VolumeSource(synthetic, "synthetic"),
    }
    refuse_overlap(splits["training"], splits["validation"])
    if preprocessing is None:
        preprocessing = choose_preprocessing(embed, splits["training"])
    embed.adapt_to(preprocessing)
    of, sizes = {}, {}
    for name, source in splits.items():
        every = [_embed_volume(embed, preprocessing, source, i, cache) for i in range(len(source))]
        empty = np.empty((0, embed.dim), np.float32)
        of[name] = np.stack([vector for vector, _ in every]) if every else empty
        sizes[name] = (source.names, [size for _, size in every])
    chain: dict[str, Any] = {}
    if verify and all(len(source) for source in splits.values()):
        volumes = {
            name: PreprocessedVolumes(source, preprocessing) for name, source in splits.items()
        }
        detector = CopyDetector(
            Search(spacing=preprocessing.spacing or compute_median_spacing(sizes["training"][1])),
            q=q,
            embed=embed.embed,
            seed=seed,
            workers=workers,
        ).fit(
            volumes["training"],
            volumes["validation"],
            vectors=(of["training"], of["validation"]),
            subjects=(splits["training"].subjects, splits["validation"].subjects),
            names=[
                preprocessing.key(splits["training"].content_key(i))
                for i in range(len(splits["training"]))
            ],
        )
        judgement = detector.predict(volumes["synthetic"], of["synthetic"])
        chain = {
            "judgement": judgement,
            "calibration": detector.calibration(judgement),
            "null_scores": detector.null_.nearest_per_subject().scores.tolist(),
        }
    return scan_vectors(
        of["training"],
        of["validation"],
        of["synthetic"],
        training_paths=splits["training"].names,
        synthetic_paths=splits["synthetic"].names,
        validation_paths=splits["validation"].names,
        embedder=embed,
        k=k,
        rule=rule,
        quantile=quantile,
        q=q,
        subjects=splits["validation"].subjects,
        training_subjects=splits["training"].subjects,
        preprocessing=preprocessing,
        warnings=[
            *_list_subject_warnings(splits["training"], splits["validation"]),
            *list_scan_warnings(embed, *(len(source) for source in splits.values())),
            *(list_spacing_warnings(sizes) if preprocessing.spacing is None else []),
        ],
        **chain,
    )


def choose_preprocessing(embedder: Embedder, training: VolumesLike | VolumeSource) -> Preprocessing:
    """Return what volumes go through where nobody said it; see `scan`."""
    own = embedder.preprocessing
    if own is not None and embedder.input_shape is not None:
        return own
    source = training if isinstance(training, VolumeSource) else VolumeSource(training, "training")
    intensity = own.intensity if own is not None else Percentile()
    return Preprocessing(shape=_compute_median_shape(source), intensity=intensity)


def list_scan_warnings(
    embedder: Embedder, n_training: int, n_validation: int, n_synthetic: int = 0
) -> list[str]:
    """Return what every reader of a scan with these sizes and this embedder must know."""
    warnings = []
    sizes = {"Training": n_training, "synthetic": n_synthetic}
    larger = [f"{name} ({n})" for name, n in sizes.items() if n > n_validation]
    if larger:
        text = f"{' and '.join(larger)} {'are' if len(larger) > 1 else 'is'} larger than"
        warnings.append(
            f"{text[0].upper()}{text[1:]} validation ({n_validation}): the paper's rule then "
            "flags volumes by chance; compare each share with its null floor."
        )
    if embedder.training_free:
        warnings.append(
            "The embedder is training-free: it sees coarse structure only, and misses copies that "
            "are flipped, rotated or shifted."
        )
    return [*warnings, *filter(None, [embedder.warning])]


def _list_subject_warnings(*sources: VolumeSource) -> list[str]:
    unknown = sum(not subject for source in sources for subject in source.subjects)
    if not unknown:
        return []
    return [
        f"{unknown} volumes have no subject_id: nobody can tell whether a subject is in two "
        "splits, which would raise the threshold and hide copies."
    ]


def _embed_volume(
    embedder: Embedder,
    preprocessing: Preprocessing,
    source: VolumeSource,
    i: int,
    cache: ArrayCache | None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the vector and the voxel size of a volume that is read at most once."""

    @lru_cache(1)
    def read() -> Volume:
        return source.read(i)

    def compute() -> NDArray[np.float32]:
        return embedder.embed(preprocessing.apply(read())[None, None])[0]

    if cache is None or not source.files:
        return compute(), get_known_spacing(read())
    content = source.content_key(i)
    vector = cache.get(compute_embedding_key(content, preprocessing, embedder.hash), compute)
    return vector, cache.get(hash_json(["voxel", content]), lambda: get_known_spacing(read()))


def compute_embedding_key(content: str, preprocessing: Preprocessing, embedder: str) -> str:
    """Return the cache key of a vector: content, what it went through, hash of the embedder."""
    return hash_json(["vector", preprocessing.key(content), embedder])


def _compute_median_shape(source: VolumeSource) -> tuple[int, int, int]:
    shapes = np.array([source.read(i).data.shape for i in range(len(source))] or [(4, 4, 4)])
    x, y, z = (max(4, round(float(n))) for n in np.median(shapes, axis=0))
    return (x, y, z)
