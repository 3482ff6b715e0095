"""Synthetic volumes of a study: drawn from its LDM, or registered where others made them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import make_absolute
from napari_memscan.generators.sample import GeneratedSample, SamplingSettings
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.models.new_study import check_generator
from napari_memscan.progress import Progress, run_job
from napari_memscan.samples import find_free_names
from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Split
from napari_memscan.volumes.names import name_volumes

if TYPE_CHECKING:
    from napari_memscan.config import GeneratorConfig
    from napari_memscan.generators.guidance import Guidance
    from napari_memscan.generators.interface import VolumeGenerator
    from napari_memscan.generators.sample import DenoisingStep

REGISTERED_AT_ONCE = 500
"""Volumes made elsewhere whose rows are written together."""


def generate_volumes(
    study: Study,
    n: int,
    *,
    seed: int | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    condition: str | None = None,
    guidance: float = 0.0,
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Generator[DenoisingStep | Progress, None, list[str]]:
    """Make `n` synthetic volumes with the seeds ``seed, seed + 1, ...``.

    Seeds that were made before with the same model and settings are not made again: so a job
    that was stopped goes on, and asking for more adds the missing ones. For a study over a
    folder of volumes, registers the volumes there. Under torchrun or ``srun`` the processes
    share the work.

    Parameters
    ----------
    study : Study
        Gets the volumes.
    n : int
        Volumes in all, those already there included.
    seed, steps, sampler
        Defaults: of the study, then of the model.
    condition : str, optional
        What a conditional model is told of all of them; default the study's, else each seed draws
        its own by the shares of training.
    guidance : float
        Strength with which volumes keep away from training volumes; 0 is without. See
        `generators.guidance.Guidance`. Volumes of another strength are others: a seed may be
        there once with and once without.
    tell : callable, optional
        Called once with the settings that were chosen, in words.
    **settings
        ``batch``, ``precision``, ``memory``, ``threads``, ``decode``: see `LDMGenerator.choose`.
        A study goes on with those its samples were made with.

    Yields
    ------
    Step
        After each denoising step of a batch, of this process.
    Progress
        After each volume, when it and its row in ``samples.csv`` are on disk; counts those of
        all processes.

    Returns
    -------
    list of str
        The samples that are new, in order.

    Raises
    ------
    BadInput, JobFailed
        See `LDMGenerator`; and when another memscan works on the study.
    """
    from napari_memscan.generators.guidance import check_strength

    if n < 1:
        raise BadInput(f"n {n}: at least one volume must be asked for.")
    check_strength(guidance)
    together = processes.join_process_group()
    with together.working(study, "generate"):
        config = study.require_generator()
        if config.external:
            if guidance or condition is not None:
                raise BadInput(
                    f"{study.folder}: its volumes are made elsewhere, so nothing can guide their "
                    "sampling or choose a condition. Choose an LDM checkpoint as the study's "
                    "generator."
                )
            if together.first:
                return (yield from register_volumes(study, list_external_volumes(study)))
            return []
        generator = study.generator()
        together.share(lambda: check_generator(study, generator))
        first = study.config.seed if seed is None else seed
        seeds = range(first, first + n)
        chosen = together.share(partial(choose_settings, study.samples(), generator, settings))
        away = yield from _share_guidance(study, generator, guidance, chosen.threads, together)
        plan = together.share(
            partial(
                plan_generation,
                config,
                study.samples(),
                generator,
                seeds,
                steps,
                sampler,
                chosen,
                str(away or ""),
                condition,
            )
        )
        plan = replace(plan, guidance=away)
        if tell is not None and together.first:
            tell(f"settings: {plan.settings}")
        return (yield from sample_seeds(study, generator, plan, together=together))


@dataclass(frozen=True)
class GenerationPlan:
    """What is to be drawn: the same in all processes.

    Attributes
    ----------
    seeds, conditions, names : list
        Of the samples that are not there yet, each with its condition and its name.
    done : int
        Samples that are there already.
    made_with : (str, str, str, str)
        Recipe hash, checkpoint hash, sampler, steps.
    settings : SamplingSettings
        How networks are run.
    guidance : Guidance or None
        Away from training volumes.
    """

    seeds: list[int]
    conditions: list[str]
    names: list[str]
    done: int
    made_with: tuple[str, str, str, str]
    settings: SamplingSettings
    guidance: Guidance | None = None


def plan_generation(
    config: GeneratorConfig,
    rows: Sequence[SampleRow],
    generator: VolumeGenerator,
    seeds: range,
    steps: int | None,
    sampler: str | None,
    settings: SamplingSettings,
    guidance: str = "",
    condition: str | None = None,
) -> GenerationPlan:
    """Return what is to be drawn for these seeds, without the guidance of `prepare_guidance`."""
    if seeds.start < 0:
        raise BadInput(f"seed {seeds.start}: seeds are numbers from 0 on.")
    made_with = resolve_provenance(config, generator, steps, sampler)
    existing = find_existing_seeds(rows, made_with, replace(settings, guidance=guidance))
    asked = [(seed, choose_condition(config, generator, seed, condition)) for seed in seeds]
    wanted = [pair for pair in asked if pair not in existing]
    names = find_free_names(rows, len(wanted))
    done = len(seeds) - len(wanted)
    return GenerationPlan(
        [s for s, _ in wanted], [c for _, c in wanted], names, done, made_with, settings
    )


def choose_condition(
    config: GeneratorConfig, generator: VolumeGenerator, seed: int, wish: str | None = None
) -> str:
    """Return what the model is told of a seed's sample: asked for, the study's, or drawn."""
    return generator.condition(seed, config.condition if wish is None else wish)


def resolve_provenance(
    config: GeneratorConfig, generator: VolumeGenerator, steps: int | None, sampler: str | None
) -> tuple[str, str, str, str]:
    """Return recipe hash, checkpoint hash, sampler and steps: asked for, the study's, or usual."""
    steps = steps or config.steps or generator.recipe.steps
    sampler = sampler or config.sampler or generator.recipe.sampler
    return generator.recipe_hash, generator.checkpoint_hash, str(sampler), str(steps)


def choose_settings(
    rows: Iterable[SampleRow], generator: VolumeGenerator, wishes: Mapping[str, Any]
) -> SamplingSettings:
    """Return how networks are run: as wished, else as before, else as fits the machine."""
    model = (generator.recipe_hash, generator.checkpoint_hash)
    mine = [row for row in rows if row.seed and (row.recipe_hash, row.checkpoint_hash) == model]
    chosen = dict(wishes)
    if mine:
        # As before, where nothing else is wished for.
        before = asdict(SamplingSettings.parse(mine[-1].settings))
        del before["guidance"]  # Asked for each time.
        chosen = {k: wishes[k] if wishes.get(k, "auto") != "auto" else before[k] for k in before}
    return generator.choose(**chosen)


def find_existing_seeds(
    rows: Sequence[SampleRow], made_with: tuple[str, str, str, str], settings: SamplingSettings
) -> set[tuple[int, str]]:
    """Return seeds and conditions of the samples made in just this way."""
    return {
        (int(row.seed), row.condition)
        for row in rows
        if row.seed
        and (row.recipe_hash, row.checkpoint_hash, row.sampler, row.steps) == made_with
        and SamplingSettings.parse(row.settings) == settings
    }


def _share_guidance(
    study: Study,
    generator: VolumeGenerator,
    strength: float,
    threads: int,
    together: processes.ProcessGroup,
) -> Generator[Progress, None, Guidance | None]:
    """Encode what guidance needs once, whoever needs it."""
    from napari_memscan.jobs.sampling.guidance import prepare_guidance

    if not strength:
        return None
    if together.size > 1:
        # The first encodes, the others then read what it kept.
        together.share(
            lambda: run_job(prepare_guidance(study, generator, strength, threads)) and None
        )
    return (yield from prepare_guidance(study, generator, strength, threads))


def list_external_volumes(study: Study) -> list[Path]:
    """Return the synthetic volumes that the cohort names and those of a folder as generator."""
    from napari_memscan.volumes.reader import list_volumes

    files = [Path(row.path) for row in study.cohort.rows(Split.SYNTHETIC)]
    config = study.config.generator
    if config is not None and config.external:
        files += list_volumes(study.resolve(config.path))
    return files


def register_volumes(study: Study, files: list[Path]) -> Generator[Progress, None, list[str]]:
    """Make samples of volumes made elsewhere, where they are not yet; return the new ones.

    Nothing is copied. The caller holds the study's lock.
    """
    from napari_memscan.volumes.reader import check_header

    rows = study.samples()
    known = {study.sample_path(row) for row in rows}
    # As they are read from the table: a folder may be reached by links, too.
    found = (
        study.sample_path(SampleRow("", study.keep_path(make_absolute(file)))) for file in files
    )
    new = [path for path in dict.fromkeys(found) if path not in known]
    named = {Path(row.path): row.name for row in study.cohort.rows(Split.SYNTHETIC)}
    taken = {row.sample for row in rows}.union(row.name for row in study.cohort.rows())
    others = [path for path in new if path not in named]
    named |= zip(others, name_volumes(others, taken), strict=True)
    names = [named[path] for path in new]
    for start in range(0, len(new), REGISTERED_AT_ONCE):
        batch = new[start : start + REGISTERED_AT_ONCE]
        added: list[SampleRow] = []
        try:
            for name, path in zip(names[start:], batch, strict=False):
                check_header(path)  # A file that is no volume is refused before it is in the table.
                added.append(SampleRow(name, study.keep_path(path)))
        finally:
            study.add_samples(added)
        for done, path in enumerate(batch, start + 1):
            yield Progress(done, len(new), f"registered {path.name}")
    return names


def sample_seeds(
    study: Study,
    generator: VolumeGenerator,
    plan: GenerationPlan,
    parents: Sequence[str] = (),
    together: processes.ProcessGroup | None = None,
) -> Generator[DenoisingStep | Progress, None, list[str]]:
    """Draw this process's share of a plan; return the names of all its samples.

    `parents` are the samples that those of the plan replace, one for each, or none at all. Each
    process takes every so many-th batch. The caller holds the study's lock.
    """
    from napari_memscan.volumes.reader import write_nifti

    together = together or processes.ProcessGroup()
    if (generator.recipe_hash, generator.checkpoint_hash) != plan.made_with[:2]:
        raise BadInput(
            f"process {together.rank}: has another checkpoint than the first process. All hosts "
            "must see the same files."
        )
    total = plan.done + len(plan.seeds)
    size = plan.settings.batch
    batches = [range(i, i + size)[: len(plan.seeds) - i] for i in range(0, len(plan.seeds), size)]
    mine = [i for batch in together.mine(batches) for i in batch]
    drawn = generator.generate(
        [plan.seeds[i] for i in mine],
        steps=int(plan.made_with[3]),
        sampler=plan.made_with[2],
        conditions=[plan.conditions[i] for i in mine],
        **asdict(plan.settings) | {"guidance": plan.guidance},
    )
    for event in drawn:
        if not isinstance(event, GeneratedSample):
            # Numbered after all that is finished, whoever finished it.
            yield replace(event, sample=min(plan.done + together.count(), total - 1))
            continue
        place = mine[event.index]
        name, parent = plan.names[place], parents[place] if parents else ""
        write_nifti(event.volume, study.synthetic_dir / f"{name}.nii.gz")
        made_with = (str(event.seed), *plan.made_with, parent, event.settings, event.condition)
        study.add_samples([SampleRow(name, f"{name}.nii.gz", *made_with)])
        together.done()
        yield Progress(plan.done + together.count(), total, f"generated {name}", sample=name)
    for count in together.rest(len(plan.seeds)):
        yield Progress(plan.done + count, total, "generated by other processes")
    return plan.names
