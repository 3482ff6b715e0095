"""From what was chosen to a study: the jobs that make one, and that change an open one."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any

from napari_memscan import jobs
from napari_memscan.checkpoints.overrides import Declared
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.preprocessing import Preprocessing
from napari_memscan.widgets.study.field_status import LOW_RESOLUTION, Choice, EmbedderChoice
from napari_memscan.widgets.study.inspect_model import checkpoint_of, place, scale_of

ABOUT_MODELS = ("scale factor:", "self-test:")
"""How the warnings begin that a generator gives when it is tested on a cohort."""


def creating(values: Mapping[str, Any]) -> Generator[jobs.Progress, None, Study]:
    """Return the job that makes a study of the findings' values; see `jobs.create`.

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
    check_shapes([*_trained(generator), *_trained(embedder)])
    return jobs.create(
        folder,
        # A job that fails must not leave its warnings in the form.
        Cohort(cohort.table, list(cohort.warnings)),
        name=folder.name,
        generator=generator,
        embedder=embedder.path,
        embedder_declared=embedder.declared,
        embedder_trust=embedder.trust,
    )


def _trained(model: GeneratorConfig | EmbedderChoice | None) -> list[Preprocessing]:
    """Return what a model was trained with, where that is known without running its code."""
    if model is None or model.trust or model.path == LOW_RESOLUTION:
        return []
    if isinstance(model, GeneratorConfig) and model.kind == "folder":
        return []
    kind = "ldm" if isinstance(model, GeneratorConfig) else None
    known = checkpoint_of(model.path, Declared.of(model.declared), kind).recipe.preprocessing
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


def opening(make: Callable[[], Study]) -> Study:
    """Open a study, and see whether the form can show what it says of its models.

    Raises
    ------
    BadInput
        No study, or it declares something that does not exist.
    """
    study = make()
    try:
        chosen(study)
    except BadInput as error:
        raise BadInput(f"{study.folder / 'study.toml'}: {error} Mend study.toml.") from error
    return study


def differing(study: Study, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices, generator and embedder, that are not what an open study has."""
    now = chosen(study)
    fields = ("generator", "embedder")
    return {f: values[f] for f in fields if values.get(f) not in (None, now[f])}


def chosen(study: Study) -> dict[str, Any]:
    """Return generator and embedder of an open study, as findings have them as their values."""
    old = study.config
    generator = old.generator
    if generator is not None:
        # Sampler and number of steps are set elsewhere.
        generator = GeneratorConfig(
            kind=generator.kind,
            path=absolute(study, generator.path),
            declared=Declared.of(generator.declared).absolute().given(),
            trust=generator.trust,
        )
    embedder = EmbedderChoice(
        absolute(study, old.embedder),
        Declared.of(old.embedder_declared).absolute().given(),
        old.embedder_trust,
    )
    return {"generator": generator, "embedder": embedder}


def as_chosen(model: GeneratorConfig | EmbedderChoice | None) -> Choice:
    """Return what the form shows of a study's model."""
    if model is None or model.path == LOW_RESOLUTION:
        return Choice("")
    declared = dict(model.declared)
    kept = {}
    if "scale_factor_from" in declared:
        kept = {key: declared.pop(key) for key in ("scale_factor", "scale_factor_from")}
    return Choice(model.path, stated(declared), model.trust, kept)


def stated(declared: Mapping[str, Any]) -> str:
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


def absolute(study: Study, path: str) -> str:
    """Return a path of ``study.toml`` as an absolute one; names stay what they are."""
    from napari_memscan.checkpoints.trusted.spec import plug_in

    if path in ("", LOW_RESOLUTION):
        return path
    return place(path if plug_in(path) else str(study.folder / path))


def changing(
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
    from napari_memscan.jobs.models.create_study import check_generator, doubted, estimated

    new = differing(study, values)
    recipe, rows = study.config.preprocessing, study.cohort.rows("training")
    changes: dict[str, Any] = {}
    if "embedder" in new:
        embedder: EmbedderChoice = new["embedder"]
        check_shapes([recipe, *_trained(embedder)])
        changes |= {
            "embedder": embedder.path,
            "embedder_declared": embedder.declared,
            "embedder_trust": embedder.trust,
        }
    if "generator" in new:
        generator: GeneratorConfig = new["generator"]
        old = study.config.generator
        if old is not None and absolute(study, old.path) == generator.path:
            own = {"sampler": old.sampler, "steps": old.steps}
            generator = generator.model_copy(update=own)
        check_shapes([recipe, *_trained(generator)])
        warnings = []
        if generator.kind == "ldm" and not generator.trust:
            declared = Declared.of(generator.declared)
            ldm = yield from estimated(generator.path, declared, rows, recipe.intensity)
            scale = scale_of(ldm) if declared.scale_factor is None else {}
            if str(scale.get("scale_factor_from", "")).startswith("estimated"):
                generator = generator.model_copy(update={"declared": generator.declared | scale})
            else:
                warnings.append((yield from doubted(ldm, rows, recipe)))
        changes["generator"] = generator
        plan = Study(study.folder, study.config.model_copy(update=changes), study.cohort)
        warnings += check_generator(plan, keep=False)
        kept = [w for w in study.config.warnings if not w.startswith(ABOUT_MODELS)]
        changes["generator"] = generator.model_dump()
        changes["warnings"] = tuple(dict.fromkeys([*kept, *filter(None, warnings)]))
    if "embedder" in new:
        plan = Study(
            study.folder,
            study.config.model_copy(update={k: v for k, v in changes.items() if "embed" in k}),
            study.cohort,
        )
        plan.embedder()
    return changes


def update(study: Study, changes: Mapping[str, Any]) -> None:
    """Write what `changing` returned, and keep the warnings that are shown in step with it."""
    study.update(**changes)
    if "warnings" in changes:
        others = [w for w in study.cohort.warnings if not w.startswith(ABOUT_MODELS)]
        study.cohort.warnings[:] = dict.fromkeys([*others, *changes["warnings"]])
