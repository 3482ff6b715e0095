"""The whole of detection on vectors, and on volumes without any study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.intervals import clopper_pearson
from napari_memscan.detection.neighbours import NeighbourIndex, standardised
from napari_memscan.detection.result import Neighbour, SampleResult, ScanResult
from napari_memscan.detection.sources import Source, Volumes, refuse_overlap
from napari_memscan.detection.thresholds import PaperRule, null_floor
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_of
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing

if TYPE_CHECKING:
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.volumes.cache import ArrayCache

Vectors = NDArray[np.float32]

LEAST_VALIDATION = 20
"""With fewer volumes nothing above the threshold is called, only ordered: a 95th percentile of
the similarity to fewer than twenty volumes says next to nothing about a new patient."""


def scan_vectors(
    training: Vectors,
    validation: Vectors,
    synthetic: Vectors,
    *,
    training_paths: Sequence[str],
    synthetic_paths: Sequence[str],
    validation_paths: Sequence[str] = (),
    embedder: Embedder,
    k: int = 5,
    quantile: float = 0.95,
    preprocessing: Preprocessing | None = None,
    warnings: Iterable[str] = (),
) -> ScanResult:
    """Find neighbours, set the threshold by the paper's rule, and call verdicts.

    Parameters
    ----------
    training, validation, synthetic : arrays (n, d)
        Vectors of one embedder.
    training_paths, synthetic_paths, validation_paths : sequences of str
        Names of the rows; those of validation only serve messages.
    embedder : Embedder
        What made the vectors; only its name and hash are used.
    k : int
        Neighbours kept for each sample.
    quantile : float
        Of the rule.
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
        the same value everywhere, with its name.

    Notes
    -----
    N_copies counts synthetic volumes whose nearest training volume is above tau, N_mem training
    volumes whose nearest synthetic volume is (Dar et al. 2023, section 2.3).

    Below `LEAST_VALIDATION` validation volumes both are counted all the same, since that is the
    rule, but no sample is called: every verdict is ``undecided``.
    """
    if len(training) < 2 or len(validation) < 1:
        raise BadInput(
            f"{len(training)} training and {len(validation)} validation volumes; at least 2 and 1 "
            "are needed to set a threshold."
        )
    if len(synthetic) < 1:
        raise BadInput("there are no synthetic volumes. Generate some, or name their folder.")
    standardised(training, "training", training_paths)
    standardised(validation, "validation", validation_paths)
    standardised(synthetic, "synthetic", synthetic_paths)
    rule = PaperRule(quantile).fit(training, validation)
    similarities, indices = NeighbourIndex().fit(training).kneighbors(synthetic, k)
    copies = rule.is_copy(similarities[:, 0])
    reverse, _ = NeighbourIndex().fit(synthetic).kneighbors(training, 1)
    n_copies, n_mem = int(copies.sum()), int(rule.is_copy(reverse[:, 0]).sum())
    undecided = ""
    if len(validation) < LEAST_VALIDATION:
        undecided = (
            f"no power at this validation size: {len(validation)} validation volumes, at least "
            f"{LEAST_VALIDATION} are needed to call a copy"
        )
    samples = [
        SampleResult(
            path=synthetic_paths[i],
            neighbour=training_paths[indices[i, 0]],
            similarity=float(similarities[i, 0]),
            verdict="undecided" if undecided else ("copy" if copies[i] else "novel"),
            reason=undecided,
            neighbours=tuple(
                Neighbour(training_paths[j], float(s))
                for j, s in zip(indices[i], similarities[i], strict=True)
            ),
        )
        for i in range(len(synthetic))
    ]
    samples.sort(key=lambda s: (-s.similarity, s.path))
    return ScanResult(
        threshold=rule.threshold_,
        rule=rule.name,
        quantile=quantile,
        embedder=embedder.name,
        embedder_hash=embedder.hash,
        preprocessing=preprocessing.model_dump(mode="json") if preprocessing else None,
        n_training=len(training),
        n_validation=len(validation),
        n_synthetic=len(synthetic),
        n_copies=n_copies,
        copies_interval=clopper_pearson(n_copies, len(synthetic)),
        n_mem=n_mem,
        mem_interval=clopper_pearson(n_mem, len(training)),
        null_floor_copies=null_floor(len(training), len(validation), quantile),
        null_floor_mem=null_floor(len(synthetic), len(validation), quantile),
        null=tuple(float(s) for s in rule.null_),
        samples=tuple(samples),
        warnings=(*warnings, *([undecided + "."] if undecided else [])),
    )


def scan(
    training: Volumes,
    validation: Volumes,
    synthetic: Volumes,
    *,
    embedder: Embedder | str | Path | None = None,
    k: int = 5,
    preprocessing: Preprocessing | None = None,
    quantile: float = 0.95,
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
    quantile : float
        Of the paper's rule.
    cache : ArrayCache, optional
        Keeps vectors of files. Volumes are read one by one: memory holds one of them and the
        vectors.

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
    from napari_memscan.embedders.interface import tell
    from napari_memscan.embedders.loading import load_embedder

    embed: Embedder = (
        load_embedder(embedder)
        if embedder is None or isinstance(embedder, str | Path)
        else embedder
    )
    splits = {
        "training": Source(training, "training"),
        "validation": Source(validation, "validation"),
        "synthetic": Source(synthetic, "synthetic"),
    }
    refuse_overlap(splits["training"], splits["validation"])
    if preprocessing is None:
        preprocessing = default_preprocessing(embed, splits["training"])
    tell(embed, preprocessing)
    vectors = {
        name: np.stack([_embed(embed, preprocessing, source, i, cache) for i in range(len(source))])
        for name, source in splits.items()
        if len(source)
    }
    empty = np.empty((0, embed.dim), np.float32)
    return scan_vectors(
        vectors.get("training", empty),
        vectors.get("validation", empty),
        vectors.get("synthetic", empty),
        training_paths=splits["training"].names,
        synthetic_paths=splits["synthetic"].names,
        validation_paths=splits["validation"].names,
        embedder=embed,
        k=k,
        quantile=quantile,
        preprocessing=preprocessing,
        warnings=[
            *_unknown_subjects(splits["training"], splits["validation"]),
            *standing_warnings(embed, *(len(source) for source in splits.values())),
        ],
    )


def default_preprocessing(embedder: Embedder, training: Volumes | Source) -> Preprocessing:
    """Return what volumes go through where nobody said it; see `scan`."""
    own: Preprocessing | None = getattr(embedder, "preprocessing", None)
    if own is not None and embedder.input_shape is not None:
        return own
    source = training if isinstance(training, Source) else Source(training, "training")
    intensity = own.intensity if own is not None else Percentile()
    return Preprocessing(shape=_median_shape(source), intensity=intensity)


def standing_warnings(
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
    if embedder.name.startswith("low-resolution"):
        warnings.append(
            "The embedder is training-free: it sees coarse structure only, and misses copies that "
            "are flipped, rotated or shifted."
        )
    warnings += [text for text in [getattr(embedder, "warning", "")] if text]
    return warnings


def _unknown_subjects(*sources: Source) -> list[str]:
    unknown = sum(not subject for source in sources for subject in source.subjects)
    if not unknown:
        return []
    return [
        f"{unknown} volumes have no subject_id: nobody can tell whether a subject is in two "
        "splits, which would raise the threshold and hide copies."
    ]


def _embed(
    embedder: Embedder,
    preprocessing: Preprocessing,
    source: Source,
    i: int,
    cache: ArrayCache | None,
) -> NDArray[np.float32]:
    def compute() -> NDArray[np.float32]:
        return embedder.embed(preprocessing.apply(source.read(i))[None, None])[0]

    if cache is None or not source.files:
        return compute()
    content = source.digest(i)
    if source.reading(i):
        content = hash_of([content, source.reading(i)])
    return cache.get(embedding_key(content, preprocessing, embedder), compute)


def embedding_key(sha256: str, preprocessing: Preprocessing, embedder: Embedder) -> str:
    """Return the cache key of a file's vector: its bytes, what it went through, what embedded."""
    return hash_of([sha256, preprocessing.hash, embedder.hash])


def _median_shape(source: Source) -> tuple[int, int, int]:
    shapes = np.array([source.read(i).data.shape for i in range(len(source))] or [(4, 4, 4)])
    x, y, z = (max(4, round(float(n))) for n in np.median(shapes, axis=0))
    return (x, y, z)
