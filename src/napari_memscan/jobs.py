"""Long work on a study, as Python generators.

Whoever runs a job sees its progress in what it yields and stops it by not asking on. What was
finished is on disk; the same call goes on from there and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_memscan.errors import BadInput
from napari_memscan.study import SampleRow, Study

if TYPE_CHECKING:
    from napari_memscan.detection.result import ScanResult
    from napari_memscan.generators.interface import Step
    from napari_memscan.training.run import TrainingProgress
    from napari_memscan.training.settings import Settings

R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """Part of a job is done.

    Attributes
    ----------
    done, total : int
        Units done and in all.
    what : str
        What the unit was, for people.
    """

    done: int
    total: int
    what: str


def run(job: Generator[Any, None, R]) -> R:
    """Run a job to its end and return what it returns."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            result: R = stop.value
            return result


def generate(
    study: Study,
    n: int,
    *,
    seed: int | None = None,
    steps: int | None = None,
    sampler: str | None = None,
) -> Generator[Step | Progress, None, list[str]]:
    """Make `n` synthetic volumes with the seeds ``seed, seed + 1, ...``.

    Seeds that were made before with the same model and settings are not made again: so a job
    that was stopped goes on, and asking for more adds the missing ones. For a study over a
    folder of volumes, registers the volumes there.

    Yields
    ------
    Step
        After each denoising step.
    Progress
        After each volume, when it and its row in ``samples.csv`` are on disk.

    Returns
    -------
    list of str
        The samples that are new.

    Raises
    ------
    BadInput, JobFailed
        See `LDMGenerator`; and when another memscan works on the study.
    """
    from napari_memscan.generators.folder import FolderGenerator

    if n < 1:
        raise BadInput(f"n {n}: at least one volume must be asked for.")
    with study.lock("generate"):
        generator = study.generator()
        if isinstance(generator, FolderGenerator):
            return (yield from _register(study, _made_elsewhere(study)))
        first = study.config.seed if seed is None else seed
        if first < 0:
            raise BadInput(f"seed {first}: seeds are numbers from 0 on.")
        return (yield from _sample(study, generator, range(first, first + n), steps, sampler, ""))


def _made_elsewhere(study: Study) -> list[Path]:
    """Return the synthetic volumes that the cohort names and those of a folder as generator."""
    from napari_memscan.generators.folder import FolderGenerator

    files = [Path(row.path) for row in study.cohort.rows("synthetic")]
    config = study.config.generator
    if config is not None and config.kind == "folder":
        generator = study.generator()
        assert isinstance(generator, FolderGenerator)
        files += generator.files
    return files


def _register(study: Study, files: list[Path]) -> Generator[Progress, None, list[str]]:
    known = {str(study.sample_path(row)) for row in study.samples()}
    new = [path.resolve() for path in files if str(path.resolve()) not in known]
    made = []
    for done, path in enumerate(new, 1):
        study.volume(path)  # A file that is no volume is refused before it is in the table.
        row = SampleRow(f"s{len(study.samples()):06d}", str(path))
        study.add_sample(row)
        made.append(row.sample)
        yield Progress(done, len(new), f"registered {path.name}")
    return made


def _sample(
    study: Study,
    generator: Any,
    seeds: range,
    steps: int | None,
    sampler: str | None,
    parent: str,
) -> Generator[Step | Progress, None, list[str]]:
    from napari_memscan.generators.interface import Sample
    from napari_memscan.volumes.reader import write_nifti

    config = study.config.generator
    assert config is not None
    steps = steps or config.steps or generator.recipe.steps
    sampler = sampler or config.sampler or generator.recipe.sampler
    made_with = (generator.recipe_hash, generator.checkpoint_hash, sampler, str(steps))
    existing = {
        int(row.seed)
        for row in study.samples()
        if (row.recipe_hash, row.checkpoint_hash, row.sampler, row.steps) == made_with
    }
    wanted = [seed for seed in seeds if seed not in existing]
    done = len(seeds) - len(wanted)
    made = []
    for event in generator.generate(wanted, steps=steps, sampler=sampler, start=done):
        if not isinstance(event, Sample):
            yield event
            continue
        name = f"s{len(study.samples()):06d}"
        write_nifti(event.volume, study.synthetic_dir / f"{name}.nii.gz")
        study.add_sample(
            SampleRow(name, f"{name}.nii.gz", str(event.seed), *made_with, parent=parent)
        )
        made.append(name)
        done += 1
        yield Progress(done, len(seeds), f"generated {name}")
    return made


def scan(study: Study) -> Generator[Progress, None, ScanResult]:
    """Embed all volumes, find neighbours, set the threshold, call verdicts, save the result.

    Synthetic volumes made elsewhere become samples first, where they are not yet. Vectors are
    kept in the cache: a scan that was stopped goes on, and one after a single new volume reads
    only that.

    Yields
    ------
    Progress
        After each volume.

    Returns
    -------
    ScanResult
        Also in the study's ``scan/``. Two scans of the same study are equal to the byte.
    """
    import numpy as np

    from napari_memscan.detection.scan import scan_vectors, standing_warnings

    with study.lock("scan"):
        yield from _register(study, _made_elsewhere(study))
        samples = study.samples()
        if not samples:
            raise BadInput(
                f"{study.folder}: no synthetic volumes yet. Generate some, or name a folder of "
                "them as the generator."
            )
        paths = {
            "training": [row.path for row in study.cohort.rows("training")],
            "validation": [row.path for row in study.cohort.rows("validation")],
            "synthetic": [str(study.sample_path(row)) for row in samples],
        }
        total = sum(map(len, paths.values()))
        vectors: dict[str, list[Any]] = {split: [] for split in paths}
        done = 0
        for split, names in paths.items():
            for name in names:
                vectors[split].append(vector(study, name))
                done += 1
                yield Progress(done, total, f"embedded {Path(name).name} ({split})")
        embedder = study.embedder()
        result = scan_vectors(
            np.stack(vectors["training"]),
            np.stack(vectors["validation"]),
            np.stack(vectors["synthetic"]),
            training_paths=paths["training"],
            synthetic_paths=paths["synthetic"],
            embedder=embedder,
            k=min(study.config.k, len(paths["training"])),
            quantile=study.config.rule.quantile,
            preprocessing=study.config.preprocessing,
            warnings=[
                *study.cohort.warnings,
                *standing_warnings(embedder, len(paths["training"]), len(paths["validation"])),
            ],
        )
        result.save(study.scan_dir)
        return result


def vector(study: Study, path: str) -> Any:
    """Return a volume's vector (dim,), from the cache where it is there."""
    from napari_memscan.detection.scan import embedding_key

    if not Path(path).exists():
        raise BadInput(f"{path}: missing. Restore it, or take it out of the study.")
    embedder = study.embedder()
    recipe = study.config.preprocessing
    key = embedding_key(study.sha256(path), recipe, embedder)

    def compute() -> Any:
        return embedder.embed(recipe.apply(study.volume(path))[None, None])[0]

    return study.cache.get(key, compute)


def regenerate(study: Study, sample: str) -> Generator[Step | Progress, None, str]:
    """Make a replacement for a sample with a new seed, and scan it; the old one is kept.

    Parameters
    ----------
    study : Study
        Its generator must be an LDM.
    sample : str
        Such as ``s000003``.

    Yields
    ------
    Step, Progress
        As `generate` and `scan` do.

    Returns
    -------
    str
        The new sample; its row names `sample` as its parent.

    Raises
    ------
    BadInput
        No such sample, it has been replaced already, or the volumes were made elsewhere.
    """
    from napari_memscan.generators.folder import FolderGenerator

    with study.lock("regenerate"):
        rows = study.samples()
        row = next((r for r in rows if r.sample == sample), None)
        if row is None:
            raise BadInput(f"{sample}: no such sample in this study.")
        child = next((r.sample for r in rows if r.parent == sample), None)
        if child is not None:
            raise BadInput(f"{sample}: replaced by {child} already. Regenerate that one.")
        generator = study.generator()
        if isinstance(generator, FolderGenerator):
            raise BadInput(
                f"{sample}: was made elsewhere, so it cannot be regenerated here. Choose an LDM "
                "checkpoint as the study's generator."
            )
        seed = max((int(r.seed) for r in rows if r.seed), default=study.config.seed) + 1
        steps = int(row.steps) if row.steps else None
        made = yield from _sample(
            study, generator, range(seed, seed + 1), steps, row.sampler or None, sample
        )
    yield from scan(study)
    return made[0]


def report(study: Study) -> Path:
    """Write the report of the last scan and the decisions; return ``report/index.html``."""
    from napari_memscan import __version__
    from napari_memscan.report.page import write_report

    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet. Scan first.")
    samples = study.samples()
    seeded = [row for row in samples if row.seed]
    store = study.store()
    try:
        current = store.current()
    finally:
        store.close()
    names = {str(study.sample_path(row)): row.sample for row in samples}
    return write_report(
        study.report_dir,
        result,
        title=study.config.name,
        decisions={path: current[name] for path, name in names.items() if name in current},
        pictures=study.array,
        provenance={
            "memscan": __version__,
            "generator": study.config.generator.kind if study.config.generator else "none",
            "checkpoint hash": ", ".join(sorted({r.checkpoint_hash for r in samples} - {""})),
            "recipe hash": ", ".join(sorted({r.recipe_hash for r in samples} - {""})),
            "sampler": ", ".join(
                sorted({f"{r.sampler} {r.steps} steps" for r in samples if r.seed})
            ),
            "seeds": _ranges(sorted({int(r.seed) for r in seeded})),
            "preprocessing hash": study.config.preprocessing.hash,
        },
    )


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)


def train(
    study: Study,
    part: str,
    out: Path,
    settings: Settings,
    *,
    device: str = "auto",
    autoencoder: Path | None = None,
) -> Generator[Progress | TrainingProgress, None, None]:
    """Fit one part of a model to the study's cohort; see `training.run.train`."""
    import numpy as np

    from napari_memscan.training.run import train as fit

    splits = {s: [r.path for r in study.cohort.rows(s)] for s in ("training", "validation")}
    total = sum(map(len, splits.values()))
    arrays: dict[str, list[Any]] = {split: [] for split in splits}
    done = 0
    for split, paths in splits.items():
        for path in paths:
            arrays[split].append(study.array(path))
            done += 1
            yield Progress(done, total, f"read {Path(path).name}")
    recipe = study.config.preprocessing
    spacing = recipe.spacing or _common_spacing(study)
    yield from fit(
        part,
        {split: np.stack(values) for split, values in arrays.items()},
        out,
        settings,
        device=device,
        preprocessing=recipe,
        spacing=spacing,
        autoencoder=autoencoder,
    )


def _common_spacing(study: Study) -> tuple[float, float, float] | None:
    """Return the voxel size of the training volumes if all agree; else it is unknown."""
    found = {study.volume(row.path).spacing for row in study.cohort.rows("training")}
    if len(found) != 1:
        return None
    return found.pop()
