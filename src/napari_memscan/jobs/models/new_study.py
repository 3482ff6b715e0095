"""A new study, with models that were seen to work on its cohort before anything is written."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.config import GeneratorConfig, StudyConfig, suggest_preprocessing
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.files import hash_json
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split
from napari_memscan.volumes.preprocessing import Window

if TYPE_CHECKING:
    from napari_memscan.generators.latent_scale import LatentScale
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.volumes.cohort import Cohort, CohortRow
    from napari_memscan.volumes.preprocessing import Preprocessing

N_CHECK_SCALE, N_ESTIMATE_SCALE = 8, 32
"""Training volumes that are encoded to doubt a known scale factor, and to estimate one: the
standard deviation of latents hardly changes with more."""


def create_study(
    folder: str | Path,
    cohort: Cohort,
    *,
    name: str,
    generator: GeneratorConfig | None = None,
    embedder: str = LOW_RESOLUTION,
    embedder_declared: dict[str, Any] | None = None,
    embedder_trust: bool = False,
    **preprocessing: Any,
) -> Generator[Progress, None, Study]:
    """Create a study: load and test its models, estimate what they do not say, write it.

    Parameters
    ----------
    folder : path
        Of the new study.
    cohort : Cohort
        Checked here.
    name : str
        For people.
    generator, embedder, embedder_declared, embedder_trust
        See `StudyConfig`. A scale factor that neither the checkpoint nor the user states is
        estimated from training volumes and written into the study.
    **preprocessing
        ``shape``, ``spacing``, ``intensity`` where they are stated; see
        `suggest_preprocessing`.

    Yields
    ------
    Progress
        After each training volume that was encoded.

    Raises
    ------
    BadInput
        A model does not load, does not work, or does not fit the other; nothing is written.
    """
    cohort = cohort.join_cohorts()  # A copy: warnings about models are the study's alone.
    cohort.check()
    declared = (
        ModelOverrides()
        if generator is None
        else ModelOverrides.from_mapping(generator.declared).absolute()
    )
    ldm: Checkpoint | None = None
    trained: list[Preprocessing] = []
    unscaled = False
    warnings: list[str] = []
    if generator is not None and not generator.external:
        if generator.trust:
            from napari_memscan.generators.ldm import LDMGenerator

            foreign = LDMGenerator(generator.path, declared=declared, trust=True)
            trained.append(foreign.recipe.preprocessing)
        else:
            found = inspect_checkpoint(generator.path, declared, "ldm")
            ldm, unscaled = found.require_checkpoint(unscaled=True), found.checkpoint is None
            assert isinstance(ldm.recipe, LDMRecipe)
            trained.append(ldm.recipe.preprocessing)
    if embedder != LOW_RESOLUTION:
        from napari_memscan.embedders.loading import load_embedder

        loaded = load_embedder(embedder, declared=embedder_declared, trust=embedder_trust)
        known = loaded.preprocessing
        if known is not None and loaded.input_shape is not None:
            trained.append(known)
        elif known is not None and not trained and preprocessing.get("intensity") is None:
            # It takes any shape, but knows intensities as it was trained on.
            preprocessing["intensity"] = known.intensity
    recipe = suggest_preprocessing(cohort, trained=trained, **preprocessing)
    if unscaled and generator is not None:
        if recipe.shape != trained[0].shape:
            raise BadInput(_explain_shape_mismatch(trained[0].shape, recipe.shape))
        scaled = yield from load_with_estimated_scale(
            generator.path, declared, cohort.rows(Split.TRAINING), recipe.intensity
        )
        declared = declared.model_copy(update=get_scale_overrides(scaled))
    elif ldm is not None and recipe.shape == trained[0].shape:
        rows = cohort.rows(Split.TRAINING)
        warnings.append((yield from check_scale_factor(ldm, rows, recipe)))
    if generator is not None:
        generator = generator.model_copy(update={"declared": declared.to_dict()})
    config = StudyConfig(
        name=name,
        generator=generator,
        embedder=embedder,
        embedder_declared=ModelOverrides.from_mapping(embedder_declared).absolute().to_dict(),
        embedder_trust=embedder_trust,
        preprocessing=recipe,
    )
    # Models that do not load or do not fit are found before anything is written.
    plan = Study(Path(folder).resolve(), config, cohort)
    plan.embedder()
    warnings += [] if generator is None else check_generator(plan, keep=False)
    changes = {"model_warnings": tuple(filter(None, warnings))}
    return Study.create(folder, config.model_copy(update=changes), cohort)


def check_generator(
    study: Study, generator: LDMGenerator | None = None, keep: bool = True
) -> list[str]:
    """Put a study's generator to the self-test, once for each model; return its warnings.

    Parameters
    ----------
    study : Study
        Remembers in its cache which models have passed.
    generator : LDMGenerator, optional
        Where it is loaded already.
    keep : bool
        Off for a study that is not written yet.

    Raises
    ------
    BadInput
        The model does not work, or not for this study.
    """
    from napari_memscan.generators.model_check import check_model, require_passed
    from napari_memscan.volumes.reader import list_volumes

    config = study.require_generator()
    if config.external:
        list_volumes(study.resolve(config.path))
        return []
    generator = generator or study.generator()
    made, wanted = generator.recipe.preprocessing.shape, study.config.preprocessing.shape
    if made != wanted:
        raise BadInput(_explain_shape_mismatch(made, wanted))
    where = generator.path

    def ask() -> list[str]:
        warnings = require_passed(check_model(generator), where)
        unlike = _check_intensities(generator.recipe, study.config.preprocessing)
        return [*warnings, *([f"{where}: {unlike}"] if unlike else [])]

    if not keep:
        return ask()
    key = hash_json(["self-test", generator.checkpoint_hash, study.config.preprocessing.hash])
    return study.cache.get_text(key, lambda: "\n".join(ask())).splitlines()


def _check_intensities(recipe: LDMRecipe, wanted: Preprocessing) -> str:
    """Say when synthetic volumes would not be in the units that the study compares in.

    Raises
    ------
    BadInput
        They would surely not.
    """
    if not isinstance(wanted.intensity, Window):
        return ""  # The other rules are relative to each volume.
    if recipe.decoded_range is None:
        return (
            "the range of its decoded values is not known, so they stay as they are, but this "
            "study compares by a fixed window. If they are not in its units already, state "
            "decoded_range and intensity."
        )
    if not isinstance(recipe.preprocessing.intensity, Window):
        raise BadInput(
            f"the LDM was trained on intensities scaled by {recipe.preprocessing.intensity.rule}, "
            "which cannot be undone: its volumes are in 0 to 1. A fixed window does not fit them; "
            "compare by the rule that it was trained with, or say how it was trained.",
            Hint(HintKind.STATE, "intensity=window:LOW:HIGH"),
        )
    return ""


def get_scale_overrides(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint's scale factor and where it comes from, as one declares them."""
    assert isinstance(checkpoint.recipe, LDMRecipe)
    origin = next(fact.origin for fact in checkpoint.report.facts if fact.name == "scale_factor")
    return {"scale_factor": checkpoint.recipe.scale_factor, "scale_factor_from": origin}


def _explain_shape_mismatch(made: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return (
        f"the LDM makes volumes of {made}, the study's are {wanted}. Leave the shape out, so that "
        "it follows the LDM."
    )


def load_with_estimated_scale(
    path: str | Path, declared: ModelOverrides, rows: list[CohortRow], intensity: Any
) -> Generator[Progress, None, Checkpoint]:
    """Load an LDM with a scale factor estimated from training volumes.

    Raises
    ------
    BadInput
        More than the scale factor is missing.
    """
    found = inspect_checkpoint(path, declared, "ldm")
    ldm = found.require_checkpoint(unscaled=True)
    if found.checkpoint is not None:
        return ldm
    assert isinstance(ldm.recipe, LDMRecipe)
    recipe = ldm.recipe.preprocessing.model_copy(update={"intensity": intensity})
    scale = yield from _measure_latent_scale(ldm, rows, recipe, N_ESTIMATE_SCALE)
    estimate = {"scale_factor": scale.factor, "scale_factor_from": scale.origin}
    return load_checkpoint(path, declared.model_copy(update=estimate), "ldm")


def check_scale_factor(
    ldm: Checkpoint, rows: list[CohortRow], recipe: Preprocessing
) -> Generator[Progress, None, str]:
    """Return a warning where an LDM's scale factor is far from 1/std of the latents."""
    assert isinstance(ldm.recipe, LDMRecipe)
    if ldm.recipe.latent_scaling != "factor":
        return ""
    scale = yield from _measure_latent_scale(ldm, rows, recipe, N_CHECK_SCALE)
    return scale.warning(ldm.recipe)


def _measure_latent_scale(
    ldm: Checkpoint, rows: list[CohortRow], recipe: Preprocessing, n: int
) -> Generator[Progress, None, LatentScale]:
    from napari_memscan.checkpoints.device import choose_device
    from napari_memscan.generators.latent_scale import measure_latent_scale

    # Spread over the cohort: its order may be by hospital or by date.
    rows = rows[:: max(1, len(rows) // n)][:n]
    encoding = measure_latent_scale(
        ldm, [partial(_read_preprocessed, row, recipe) for row in rows], choose_device()
    )
    while True:
        try:
            done = next(encoding)
        except StopIteration as stop:
            scale: LatentScale = stop.value
            return scale
        yield Progress(done, len(rows), "encoded a training volume")


def _read_preprocessed(row: CohortRow, recipe: Preprocessing) -> Any:
    return recipe.apply(row.read())
