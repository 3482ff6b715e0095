"""Rejected samples drawn anew: until the program no longer calls the replacement, or gives up."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed, is_out_of_memory
from napari_memscan.files import hash_json
from napari_memscan.generators.sample import SamplingSettings
from napari_memscan.jobs.replacement.lineage import (
    Attempt,
    Replacement,
    build_replacement,
    collect_scan_results,
    is_called,
    list_flagged,
    trace_replacements,
)
from napari_memscan.jobs.sampling.generate import GenerationPlan, choose_condition, sample_seeds
from napari_memscan.jobs.sampling.guidance import prepare_guidance as guided
from napari_memscan.jobs.scan.scan import scan_study
from napari_memscan.samples import find_free_names
from napari_memscan.study import SampleRow, Study

if TYPE_CHECKING:
    from napari_memscan.generators.interface import VolumeGenerator
    from napari_memscan.generators.sample import DenoisingStep
    from napari_memscan.progress import Progress

__all__ = [
    "Attempt",
    "Replacement",
    "derive_next_seed",
    "list_flagged",
    "regenerate_sample",
    "regenerate_samples",
]

DEFAULT_TRIES = 5


def regenerate_sample(
    study: Study, sample: str, *, tries: int = DEFAULT_TRIES, guidance: float = 0.0, **settings: Any
) -> Generator[DenoisingStep | Progress, None, Replacement]:
    """Replace one sample by a new one that is not called; the old one is kept.

    Parameters, what it yields, and what goes wrong: as for `regenerate_samples`.

    Raises
    ------
    BadInput
        Also where it has been replaced already.
    """
    rows = study.samples()
    if chain := trace_replacements(sample, rows):
        last, judged = chain[-1], collect_scan_results(study.result(), rows)
        if last.sample in judged and not judged[last.sample].verdict.called:
            raise BadInput(f"{sample}: replaced by {last.sample} already. Regenerate that one.")
    made = yield from regenerate_samples(
        study, [sample], tries=tries, guidance=guidance, **settings
    )
    return made[0]


def regenerate_samples(
    study: Study,
    samples: Sequence[str],
    *,
    tries: int = DEFAULT_TRIES,
    guidance: float = 0.0,
    must_guide: bool = True,
    **settings: Any,
) -> Generator[DenoisingStep | Progress, None, list[Replacement]]:
    """Replace samples by new ones, each until its replacement is not called, or tries are used up.

    In rounds: one attempt for every sample that still needs one, then a scan of the whole study,
    since the verdict on a volume depends on those beside it. Seeds follow from the sample that is
    replaced, so a job that was stopped or killed goes on and makes the same bytes; what is
    replaced already is only reported.

    Parameters
    ----------
    study : Study
        Its generator must be an LDM.
    samples : sequence of str
        Such as ``s000003``; or `list_flagged`.
    tries : int
        Attempts for each, those made before included.
    guidance : float
        Strength with which new volumes keep away from training volumes; 0 is without. See
        `generators.guidance.Guidance`.
    must_guide : bool
        Refuse a model that allows no guidance; else it is sampled without, and `unguided` of what
        is returned says why.
    **settings
        ``batch``, ``decode`` ...: see `LDMGenerator.choose`. By default as the replaced sample
        was made. Its condition stays, unless the study has another model by now.

    Yields
    ------
    Step, Progress
        As `generate` and `scan_study` do.

    Returns
    -------
    list of Replacement
        One for each sample, in their order.

    Raises
    ------
    BadInput
        No such sample, the volumes were made elsewhere, or the model allows no guidance.
    JobFailed
        Memory does not suffice, or another memscan works on the study. Nothing is lost.
    """
    from napari_memscan.generators.guidance import check_strength

    if tries < 1:
        raise BadInput(f"tries {tries}: at least one attempt must be allowed.")
    check_strength(guidance)
    names = list(dict.fromkeys(samples))
    with study.lock("regenerate"):  # Refused at once, not after the first scan.
        _require_known(names, study.samples())
    generator: VolumeGenerator | None = None
    unguided = ""
    with explain_memory_errors():
        while True:
            rows = study.samples()
            result = study.result()
            judged = collect_scan_results(result, rows)
            chains = {name: trace_replacements(name, rows) for name in names}
            lasts = [chain[-1].sample for chain in chains.values() if chain]
            wanted = [
                chain[-1].sample if chain else name
                for name, chain in chains.items()
                if not chain or (is_called(chain[-1], judged) and len(chain) < tries)
            ]
            if result is not None and not wanted and all(last in judged for last in lasts):
                made = [build_replacement(result, name, chains[name], judged) for name in names]
                return [replace(one, unguided=unguided) for one in made]
            if wanted:
                generator = generator or study.generator()
                with study.lock("regenerate"):
                    guide = (guidance, must_guide)
                    unguided = yield from _draw_attempts(
                        study, generator, dict.fromkeys(wanted), guide, settings
                    )
            yield from scan_study(study)


@contextmanager
def explain_memory_errors() -> Iterator[None]:
    """Say what to do where memory does not suffice, in whichever part of the job."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise JobFailed(
            "memory does not suffice to regenerate. Close other programs that use it. What was "
            "finished is kept; started again, it goes on from there.",
            Hint(HintKind.SAVE_MEMORY),
        ) from error


def _draw_attempts(
    study: Study,
    generator: VolumeGenerator,
    parents: Iterable[str],
    guide: tuple[float, bool],
    wishes: Mapping[str, Any],
) -> Generator[DenoisingStep | Progress, None, str]:
    """Draw one attempt for each parent, those made alike together; return `unguided`.

    The lock is held.
    """
    rows = {row.sample: row for row in study.samples()}
    config = study.config.generator
    assert config is not None
    taken = {row.seed for row in rows.values()}
    model = (generator.recipe_hash, generator.checkpoint_hash)
    alike: dict[tuple[str, str, SamplingSettings], list[tuple[str, int, str]]] = {}
    for name in parents:
        row = rows[name]
        seed = derive_next_seed(row, taken)
        taken.add(str(seed))
        chosen = asdict(SamplingSettings.parse(row.settings)) if row.seed else {}
        chosen.pop("guidance", None)
        chosen |= {k: v for k, v in wishes.items() if v != "auto"}
        sampler = row.sampler or config.sampler or generator.recipe.sampler
        steps = row.steps or str(config.steps or generator.recipe.steps)
        way = (sampler, steps, generator.choose(**chosen))
        # Of this model it is made anew as what it was; another may not know its condition.
        same = row.condition if (row.recipe_hash, row.checkpoint_hash) == model else None
        told = choose_condition(config, generator, seed, same)
        alike.setdefault(way, []).append((name, seed, told))
    away, unguided, (strength, must_guide) = None, "", guide
    for (sampler, steps, settings), wanted in alike.items():
        if strength and away is None:
            try:
                away = yield from guided(study, generator, strength, settings.threads)
            except BadInput as error:
                if must_guide:
                    raise
                strength, unguided = 0.0, str(error)
        plan = GenerationPlan(
            [seed for _, seed, _ in wanted],
            [told for _, _, told in wanted],
            find_free_names(study.samples(), len(wanted)),
            0,
            (*model, sampler, steps),
            settings,
            away,
        )
        yield from sample_seeds(study, generator, plan, [name for name, _, _ in wanted])
    return unguided


def derive_next_seed(row: SampleRow, taken: Iterable[str] = ()) -> int:
    """Return the seed of the sample that replaces another: the same whenever it is asked.

    Parameters
    ----------
    row : SampleRow
        The sample that is replaced.
    taken : iterable of str
        Seeds of other samples, which are passed over.
    """
    seed = int(hash_json(["regenerated", row.sample, row.seed]), 16) % 2**31
    others = set(taken)
    while str(seed) in others:
        seed = (seed + 1) % 2**31
    return seed


def _require_known(names: Sequence[str], rows: Sequence[SampleRow]) -> None:
    known = {row.sample for row in rows}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise BadInput(f"{unknown}: no such sample in this study.")
