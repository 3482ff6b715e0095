"""From what was chosen to a study: the jobs that make one, and that change an open one."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any

from napari_memscan import jobs
from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe_fields import CheckpointKind
from napari_memscan.config import GeneratorConfig
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput
from napari_memscan.jobs.models.new_study import (
    check_generator,
    check_scale_factor,
    get_scale_overrides,
    load_with_estimated_scale,
)
from napari_memscan.study import Study
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.preprocessing import Preprocessing
from napari_memscan.widgets.study.field_status import EmbedderChoice, FieldChoice


def create_chosen_study(values: Mapping[str, Any]) -> Generator[jobs.Progress, None, Study]:
    """Return the job that makes a study of the findings' values; see `jobs.create_study`.

    Raises
    ------
    BadInput
        Something is not chosen yet, or the embedder takes another shape than the LDM makes.
    """
    folder, cohort = values.get("folder"), values.get("cohort")
    if folder is None or cohort is None:
        raise BadInput("Choose a folder and a cohort first.")
    generator: GeneratorConfig | None = values.get("generator")
    embedder: EmbedderChoice = values.get("embedder") or EmbedderChoice()
    check_shapes([*_get_model_preprocessing(generator), *_get_model_preprocessing(embedder)])
    return jobs.create_study(
        folder,
        # A job that fails must not leave its warnings in the form.
        Cohort(cohort.table, list(cohort.warnings)),
        name=folder.name,
        generator=generator,
        embedder=embedder.path,
        embedder_declared=embedder.declared,
        embedder_trust=embedder.trust,
    )


def _get_model_preprocessing(model: GeneratorConfig | EmbedderChoice | None) -> list[Preprocessing]:
    """Return what a model was trained with, where that is known without running its code."""
    if model is None or model.trust or model.path == LOW_RESOLUTION:
        return []
    if isinstance(model, GeneratorConfig) and model.external:
        return []
    kind: CheckpointKind | None = "ldm" if isinstance(model, GeneratorConfig) else None
    found = inspect_checkpoint(model.path, ModelOverrides.from_mapping(model.declared), kind)
    known = found.require_checkpoint(unscaled=True).recipe.preprocessing
    return [] if known is None else [known]


def check_shapes(recipes: list[Preprocessing]) -> None:
    """Refuse a checkpoint that works at another shape than the first recipe."""
    shapes = [recipe.shape for recipe in recipes]
    if len(set(shapes)) > 1:
        made, taken = (" x ".join(map(str, shape)) for shape in shapes[:2])
        raise BadInput(
            f"checkpoint: works on volumes of {taken}, but this study's are {made}. Choose one "
            "trained at the same shape; the embedder may also be left empty (low-resolution)."
        )


def open_checked_study(make: Callable[[], Study]) -> Study:
    """Open a study, and see whether the form can show what it says of its models.

    Raises
    ------
    BadInput
        No study, or it declares something that does not exist.
    """
    study = make()
    try:
        get_study_models(study)
    except BadInput as error:
        raise BadInput(f"{study.folder / 'study.toml'}: {error} Mend study.toml.") from error
    return study


def find_changed_models(study: Study, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices, generator and embedder, that are not what an open study has."""
    now = get_study_models(study)
    fields = ("generator", "embedder")
    return {f: values[f] for f in fields if values.get(f) not in (None, now[f])}


def get_study_models(study: Study) -> dict[str, Any]:
    """Return generator and embedder of an open study, as findings have them as their values."""
    old = study.absolute_config()
    generator = old.generator
    if generator is not None:
        # Sampler and number of steps are set elsewhere.
        generator = GeneratorConfig(
            kind=generator.kind,
            path=generator.path,
            declared=ModelOverrides.from_mapping(generator.declared).absolute().to_dict(),
            trust=generator.trust,
        )
    embedder = EmbedderChoice(
        old.embedder,
        ModelOverrides.from_mapping(old.embedder_declared).absolute().to_dict(),
        old.embedder_trust,
    )
    return {"generator": generator, "embedder": embedder}


def make_field_choice(model: GeneratorConfig | EmbedderChoice | None) -> FieldChoice:
    """Return what the form shows of a study's model."""
    if model is None or model.path == LOW_RESOLUTION:
        return FieldChoice("")
    declared = dict(model.declared)
    kept = {}
    if "scale_factor_from" in declared:
        kept = {key: declared.pop(key) for key in ("scale_factor", "scale_factor_from")}
    return FieldChoice(model.path, format_statement(declared), model.trust, kept)


def format_statement(declared: Mapping[str, Any]) -> str:
    """Return declared facts as one types them: ``latent_shape=8,36,44,28; axes=RAS``."""
    texts = []
    for name, value in declared.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, list) and len(value) > 1:
            text = ",".join(map(json.dumps, value))
        if name == "intensity":
            text = ":".join(
                [value["rule"], *(f"{value[k]:g}" for k in ("low", "high") if k in value)]
            )
        texts.append(f"{name}={text}")
    return "; ".join(texts)


def prepare_model_changes(
    study: Study, values: Mapping[str, Any]
) -> Generator[jobs.Progress, None, dict[str, Any]]:
    """Load and test what changed, and return what to update an open study with.

    Yields
    ------
    Progress
        After each training volume that was encoded.

    Raises
    ------
    BadInput
        A model does not load, does not work, or works at another shape than the study.
    """
    new = find_changed_models(study, values)
    recipe, rows = study.config.preprocessing, study.cohort.rows(Split.TRAINING)
    changes: dict[str, Any] = {}
    if "embedder" in new:
        embedder: EmbedderChoice = new["embedder"]
        check_shapes([recipe, *_get_model_preprocessing(embedder)])
        changes |= {
            "embedder": embedder.path,
            "embedder_declared": embedder.declared,
            "embedder_trust": embedder.trust,
        }
    if "generator" in new:
        generator: GeneratorConfig = new["generator"]
        old = study.absolute_config().generator
        if old is not None and old.path == generator.path:
            own = {"sampler": old.sampler, "steps": old.steps}
            generator = generator.model_copy(update=own)
        check_shapes([recipe, *_get_model_preprocessing(generator)])
        warnings = []
        if generator.kind == "ldm" and not generator.trust:
            declared = ModelOverrides.from_mapping(generator.declared)
            estimated = inspect_checkpoint(generator.path, declared, "ldm").unscaled is not None
            ldm = yield from load_with_estimated_scale(
                generator.path, declared, rows, recipe.intensity
            )
            if estimated:
                known = generator.declared | get_scale_overrides(ldm)
                generator = generator.model_copy(update={"declared": known})
            else:
                warnings.append((yield from check_scale_factor(ldm, rows, recipe)))
        changes["generator"] = generator
        plan = Study(study.folder, study.config.model_copy(update=changes), study.cohort)
        warnings += check_generator(plan, keep=False)
        changes["generator"] = generator.model_dump()
        changes["model_warnings"] = tuple(dict.fromkeys(filter(None, warnings)))
    if "embedder" in new:
        plan = Study(
            study.folder,
            study.config.model_copy(update={k: v for k, v in changes.items() if "embed" in k}),
            study.cohort,
        )
        plan.embedder()
    return changes


def write_model_changes(study: Study, changes: Mapping[str, Any]) -> None:
    """Write what `prepare_model_changes` returned, and keep the shown warnings in step with it."""
    before = set(study.config.model_warnings)
    study.update(**changes)
    others = [w for w in study.cohort.warnings if w not in before]
    study.cohort.warnings[:] = [*others, *study.config.model_warnings]
