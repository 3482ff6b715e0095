"""Synthetic volumes of a study: drawn from its LDM, or registered where others made them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.jobs.progress import Progress
from napari_memscan.study import SampleRow, Study

if TYPE_CHECKING:
    from napari_memscan.generators.interface import Step


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
            return (yield from register(study, made_elsewhere(study)))
        first = study.config.seed if seed is None else seed
        if first < 0:
            raise BadInput(f"seed {first}: seeds are numbers from 0 on.")
        seeds = range(first, first + n)
        return (yield from sample_seeds(study, generator, seeds, steps, sampler))


def made_elsewhere(study: Study) -> list[Path]:
    """Return the synthetic volumes that the cohort names and those of a folder as generator."""
    from napari_memscan.generators.folder import FolderGenerator

    files = [Path(row.path) for row in study.cohort.rows("synthetic")]
    config = study.config.generator
    if config is not None and config.kind == "folder":
        generator = study.generator()
        assert isinstance(generator, FolderGenerator)
        files += generator.files
    return files


def register(study: Study, files: list[Path]) -> Generator[Progress, None, list[str]]:
    """Make samples of volumes made elsewhere, where they are not yet; return the new ones.

    Nothing is copied. The caller holds the study's lock.
    """
    known = {str(study.sample_path(row)) for row in study.samples()}
    named = dict.fromkeys(path.resolve() for path in files)
    new = [path for path in named if str(path) not in known]
    made = []
    for done, path in enumerate(new, 1):
        study.volume(path)  # A file that is no volume is refused before it is in the table.
        row = SampleRow(f"s{len(study.samples()):06d}", str(path))
        study.add_sample(row)
        made.append(row.sample)
        yield Progress(done, len(new), f"registered {path.name}")
    return made


def sample_seeds(
    study: Study,
    generator: Any,
    seeds: range,
    steps: int | None,
    sampler: str | None,
    parent: str = "",
) -> Generator[Step | Progress, None, list[str]]:
    """Draw volumes with these seeds, where they are not there yet; return the new samples.

    The caller holds the study's lock.
    """
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
