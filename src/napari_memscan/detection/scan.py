"""The whole of detection, on volumes of a study or of none."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_memscan.detection.compare_rules import RuleName
from napari_memscan.detection.pipeline import DetectionChain, DetectionSettings
from napari_memscan.detection.results.scan_result import ScanResult, hash_references
from napari_memscan.detection.retrieval.entries import embed_splits, fix_threads, prepare_tasks
from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.progress import Progress, run_job
from napari_memscan.typing import Split
from napari_memscan.volumes.cache import MemoryStore
from napari_memscan.volumes.cohort import UNKNOWN_SUBJECTS, Cohort, CohortRow
from napari_memscan.volumes.preprocessing import Percentile, Preprocessing
from napari_memscan.volumes.sources import VolumesLike, VolumeSource, name_sources, refuse_overlap
from napari_memscan.volumes.spacing import compute_median_spacing, list_spacing_warnings

if TYPE_CHECKING:
    from napari_memscan.detection.pipeline import Decoder
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.volumes.cache import Store
    from napari_memscan.volumes.sources import VolumeEntry


@dataclass(frozen=True)
class ScanSettings(DetectionSettings):
    """What a scan does with volumes.

    Attributes
    ----------
    k : int
        Neighbours kept for each sample.
    rule : {"conformal", "size-matched", "dar2024"}
        Which one decides; all are reported.
    quantile : float
        Of the two rules with a tau; the paper's is 0.95.
    verify : bool
        Register the nearest candidates and let what is alike afterwards decide; without it the
        conformal rule compares embeddings.
    """

    k: int = 5
    rule: RuleName = "conformal"
    quantile: float = 0.95
    verify: bool = True


def scan_entries(
    splits: Mapping[Split, Sequence[VolumeEntry]],
    recipe: Preprocessing,
    embedder: Embedder,
    store: Store,
    settings: ScanSettings,
    *,
    decoder: Decoder | None = None,
    warnings: Iterable[str] = (),
) -> Generator[Progress, None, ScanResult]:
    """Embed volumes, search for them, calibrate and decide: every scan is this one.

    Parameters
    ----------
    splits : mapping of Split to sequences of VolumeEntry
        ``training``, ``validation`` and ``synthetic``.
    recipe : Preprocessing
        What all of them go through.
    embedder : Embedder
    store : Store
        Keeps what was made: a scan that was stopped goes on, and gives the same bytes.
    settings : ScanSettings
    decoder : Decoder, optional
        See `pipeline.DetectionChain`.
    warnings : iterable of str
        What is known of the volumes already.

    Yields
    ------
    Progress
        After each volume that is read, embedded or compared.

    Raises
    ------
    BadInput
        A volume that does not do, or too few; see `scan_vectors`.
    """
    embedded = yield from embed_splits(splits, recipe, embedder, store)
    vectors = {split: rows for split, (rows, _) in embedded.items()}
    names = {split: [entry.name for entry in entries] for split, entries in splits.items()}
    sizes = {split: (names[split], of) for split, (_, of) in embedded.items()}
    judgement, calibration = None, None
    null_scores: Sequence[float] = ()
    if settings.verify and all(map(len, splits.values())):
        tasks = {}
        for split, entries in splits.items():
            tasks[split] = yield from prepare_tasks(entries, vectors[split], recipe, store)
        chain = DetectionChain(
            tasks[Split.TRAINING],
            store,
            settings.search(recipe.spacing or compute_median_spacing(sizes[Split.TRAINING][1])),
            settings,
            embed=fix_threads(embedder, store),
            embedder_hash=embedder.hash,
            decoder=decoder,
        )
        base = yield from chain.calibrate(
            tasks[Split.VALIDATION], chain.draw_for_limits(recipe.shape)
        )
        judgement = yield from chain.judge(base, tasks[Split.SYNTHETIC])
        calibration = chain.record(base, judgement)
        null_scores = base.null.nearest_per_subject().scores.tolist()
    return scan_vectors(
        vectors[Split.TRAINING],
        vectors[Split.VALIDATION],
        vectors[Split.SYNTHETIC],
        training_names=names[Split.TRAINING],
        synthetic_names=names[Split.SYNTHETIC],
        validation_names=names[Split.VALIDATION],
        synthetic_contents=[entry.content for entry in splits[Split.SYNTHETIC]],
        references=hash_references(
            *(
                [(entry.content, entry.subject) for entry in splits[split]]
                for split in (Split.TRAINING, Split.VALIDATION)
            )
        ),
        embedder=embedder,
        k=settings.k,
        rule=settings.rule,
        quantile=settings.quantile,
        q=settings.q,
        subjects=[entry.subject for entry in splits[Split.VALIDATION]],
        training_subjects=[entry.subject for entry in splits[Split.TRAINING]],
        judgement=judgement,
        calibration=calibration,
        null_scores=null_scores,
        preprocessing=recipe,
        warnings=[
            *warnings,
            *list_scan_warnings(embedder, *(len(entries) for entries in splits.values())),
            *(list_spacing_warnings(sizes) if recipe.spacing is None else []),
        ],
    )


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
    retrieved: int = 20,
    proposed: int = 5,
    verified: int = 3,
    planted: int = 16,
    workers: int = 1,
    seed: int = 1,
    cache: Store | None = None,
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
    retrieved, proposed, verified, planted
        See `pipeline.DetectionSettings`.
    workers : int
        Processes that register. The result does not depend on it.
    seed : int
        Of the planted copies that class limits are learnt from.
    cache : Store, optional
        Keeps what was made, such as an `ArrayCache`: a scan that was stopped goes on. By default
        nothing is kept: volumes are read one by one, and memory holds one of them, the vectors,
        and a small image of each training volume.

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
    from napari_memscan.embedders.loading import load_embedder

    embed: Embedder = (
        load_embedder(embedder)
        if embedder is None or isinstance(embedder, str | Path)
        else embedder
    )
    splits = {
        Split.TRAINING: VolumeSource(training, Split.TRAINING),
        Split.VALIDATION: VolumeSource(validation, Split.VALIDATION),
        Split.SYNTHETIC: VolumeSource(synthetic, Split.SYNTHETIC),
    }
    name_sources(splits[Split.TRAINING], splits[Split.VALIDATION], splits[Split.SYNTHETIC])
    refuse_overlap(splits[Split.TRAINING], splits[Split.VALIDATION])
    if preprocessing is None:
        preprocessing = choose_preprocessing(embed, splits[Split.TRAINING])
    embed.adapt_to(preprocessing)
    return run_job(
        scan_entries(
            {name: source.entries() for name, source in splits.items()},
            preprocessing,
            embed,
            MemoryStore() if cache is None else cache,
            ScanSettings(
                retrieved=retrieved,
                proposed=proposed,
                verified=verified,
                planted=planted,
                q=q,
                seed=seed,
                workers=workers,
                k=k,
                rule=rule,
                quantile=quantile,
                verify=verify,
            ),
            warnings=_check_sources(splits[Split.TRAINING], splits[Split.VALIDATION]),
        )
    )


def choose_preprocessing(embedder: Embedder, training: VolumesLike | VolumeSource) -> Preprocessing:
    """Return what volumes go through where nobody said it; see `scan`."""
    own = embedder.preprocessing
    if own is not None and embedder.input_shape is not None:
        return own
    source = (
        training if isinstance(training, VolumeSource) else VolumeSource(training, Split.TRAINING)
    )
    intensity = own.intensity if own is not None else Percentile()
    return Preprocessing(shape=_compute_median_shape(source), intensity=intensity)


def list_scan_warnings(
    embedder: Embedder, n_training: int, n_validation: int, n_synthetic: int = 0
) -> list[str]:
    """Return what every reader of a scan with these sizes and this embedder must know."""
    warnings = []
    sizes = {"Training": n_training, Split.SYNTHETIC: n_synthetic}
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


def _check_sources(*sources: VolumeSource) -> list[str]:
    """Refuse what makes every number wrong; return what a reader must know of the volumes."""
    rows = [
        CohortRow(str(file), source.split, subject, sha256=source.digest(i))
        for source in sources
        for i, (file, subject) in enumerate(zip(source.files, source.subjects, strict=False))
    ]
    if all(source.files for source in sources):
        cohort = Cohort.from_rows(rows)
        cohort.check()
        return cohort.warnings
    unknown = sum(not subject for source in sources for subject in source.subjects)
    return [UNKNOWN_SUBJECTS.format(unknown)] if unknown else []


def _compute_median_shape(source: VolumeSource) -> tuple[int, int, int]:
    shapes = np.array([source.read(i).data.shape for i in range(len(source))] or [(4, 4, 4)])
    x, y, z = (max(4, round(float(n))) for n in np.median(shapes, axis=0))
    return (x, y, z)
