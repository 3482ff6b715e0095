"""What a file or folder is, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.cli.console import note, run_with_progress
from napari_memscan.cli.hints import describe_error
from napari_memscan.cli.new import describe_models
from napari_memscan.errors import BadInput
from napari_memscan.typing import Split, Verdict

if TYPE_CHECKING:
    from napari_memscan.checkpoints.checkpoint import Checkpoint
    from napari_memscan.checkpoints.inspection import Inspection
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.study import Study


@dataclass
class PathSummary:
    """What scripts want to know of a path, beside the lines for people.

    Attributes
    ----------
    values : dict
        ``what`` it is and, for a checkpoint, candidates, load report, recipe, self-test.
    warnings : list of str
        What must be known, though it can be used.
    """

    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Keep a warning, and say it on standard error."""
        self.warnings.append(text)
        note(f"warning: {text}")


def check_path(
    path: str | Path,
    study: Path | None = None,
    *,
    declared: ModelOverrides | None = None,
    trust: bool = False,
    report: PathSummary | None = None,
) -> Iterator[str]:
    """Yield lines that say what `path` is, and whether it can be used; see `inspect_path`.

    Parameters
    ----------
    path, declared, trust
        See `inspect_path`.
    study : Path, optional
        Also say whether it fits.
    report : PathSummary, optional
        Filled on the way.

    Raises
    ------
    BadInput
        It cannot be used; says why.
    """
    from napari_memscan.jobs.models.inspect_path import PathKind, inspect_path
    from napari_memscan.study import Study

    report = report or PathSummary()
    fits = None if study is None else Study.open(study)
    found = inspect_path(path, declared, trust=trust)
    report.values["what"] = found.kind.value
    if found.kind is PathKind.STUDY:
        yield from _check_study(Study.open(found.path), report)
    elif found.kind is PathKind.VOLUME:
        yield from _check_volume(found.path, fits)
    elif found.kind is PathKind.COHORT:
        yield from _check_cohort(found.path, report)
    elif found.kind is PathKind.VOLUMES:
        yield from _check_volumes(found.path, found.volumes, fits)
    elif found.model is not None:
        report.values |= found.model.as_dict()
        yield from _check_checkpoint(found.model, fits, report)


def _check_study(study: Study, report: PathSummary) -> Iterator[str]:
    from napari_memscan.jobs.sampling.generate import list_external_volumes

    config = study.config
    yield f"{study.folder}: study '{config.name}'"
    yield f"cohort      {study.cohort.format_counts()}"
    yield f"volumes     {config.preprocessing}"
    if config.generator is not None:
        list_external_volumes(study) if config.generator.external else study.generator()
    yield from describe_models(study)
    missing = [row.sample for row in study.samples() if not study.sample_path(row).exists()]
    if missing:
        raise BadInput(
            f"{study.synthetic_dir}: the files of {len(missing)} samples are missing, the first "
            f"is {missing[0]}. Restore them."
        )
    yield f"samples     {len(study.samples())}"
    result = study.result()
    if result is None:
        yield "scan        none yet"
    else:
        near = f", {result.n_near} near-duplicates" if result.rule == "conformal" else ""
        yield (
            f"scan        {result.n_copies} of {result.n_synthetic} called copies{near}, "
            f"{result.count(Verdict.UNDECIDED)} undecided (rule {result.rule})"
        )
    for warning in study.cohort.warnings:
        report.warn(warning)


def _check_volume(path: Path, study: Study | None) -> Iterator[str]:
    from napari_memscan.volumes.reader import read_volume

    volume = read_volume(path)
    low, high = float(volume.data.min()), float(volume.data.max())
    shape = " x ".join(map(str, volume.data.shape))
    size = "voxel size unknown"
    if volume.spacing is not None:
        size = " x ".join(f"{mm:g}" for mm in volume.spacing) + " mm"
    yield f"{path}: volume of {shape} voxels, {size}, values {low:g} to {high:g}"
    if study is not None:
        study.config.preprocessing.apply(volume)
        yield f"fits the study {study.folder}"


def _check_volumes(path: Path, files: tuple[Path, ...], study: Study | None) -> Iterator[str]:
    """Read all volumes, and name all that cannot be read, not only the first."""
    bad = 0
    for file in files:
        try:
            for _ in _check_volume(file, study):
                pass
        except BadInput as error:
            bad += 1
            yield describe_error(error)
    if bad:
        raise BadInput(f"{path}: {bad} of {len(files)} volumes cannot be used.")
    yield f"{path}: {len(files)} volumes, all can be read"
    if study is not None:
        yield f"fit the study {study.folder}"


def _check_cohort(path: Path, report: PathSummary) -> Iterator[str]:
    from napari_memscan.volumes.importers import import_cohort

    cohort = import_cohort(path)
    cohort.check()
    yield f"{path}: cohort of {len(cohort.table)} volumes: {cohort.format_counts()}"
    subjects = {row.subject_id for row in cohort.rows()} - {""}
    yield f"subjects    {len(subjects)} known"
    for warning in cohort.warnings:
        report.warn(warning)


def _check_checkpoint(found: Inspection, study: Study | None, report: PathSummary) -> Iterator[str]:
    """Yield what a checkpoint is, put its weights into networks, and ask them for a step."""
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.jobs.models.inspect_path import load_model

    yield from found.lines()
    if found.unscaled is not None and study is not None:
        found = _estimate_scale(found, study)
        report.values |= found.as_dict()
        yield from found.lines()
    checkpoint = found.require_checkpoint()
    for warning in checkpoint.report.warnings:
        report.warn(warning)
    model = load_model(checkpoint)
    if isinstance(model, LDMGenerator):
        yield from _run_self_test(model, report)
    yield "fits        recipe and weights fit each other"
    if study is not None:
        yield from _check_fit(checkpoint, study, report)


def _estimate_scale(found: Inspection, study: Study) -> Inspection:
    """Return it with the scale factor that the study's training volumes have."""
    from napari_memscan.checkpoints.inspection import inspect_checkpoint
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.jobs.models.new_study import get_scale_overrides, load_with_estimated_scale

    declared = found.declared or ModelOverrides()
    rows = study.cohort.rows(Split.TRAINING)
    job = load_with_estimated_scale(
        found.path, declared, rows, study.config.preprocessing.intensity
    )
    scale = get_scale_overrides(run_with_progress(job, "encode training volumes"))
    return inspect_checkpoint(found.path, declared.model_copy(update=scale))


def _run_self_test(generator: LDMGenerator, report: PathSummary) -> Iterator[str]:
    from napari_memscan.generators.model_check import check_model, require_passed

    checks = check_model(generator)
    report.values["self_test"] = [vars(check) for check in checks]
    for warning in require_passed(checks, str(generator.path)):
        report.warn(warning)
    yield "self-test   " + "; ".join(check.text for check in checks if check.passed)


def _check_fit(checkpoint: Checkpoint, study: Study, report: PathSummary) -> Iterator[str]:
    from napari_memscan.checkpoints.recipe import LDMRecipe
    from napari_memscan.jobs.models.new_study import check_scale_factor

    made, wanted = checkpoint.recipe.preprocessing, study.config.preprocessing
    if made is None:
        yield f"fits the study {study.folder}"
        return
    if made.shape != wanted.shape:
        raise BadInput(
            f"{checkpoint.path}: is for volumes of {made.shape}, the study's are {wanted.shape}. "
            "Create a study with this shape, or train the model anew."
        )
    if made != wanted:
        report.warn(
            f"it was trained with ({made}), the study has ({wanted}): shapes fit, intensities "
            "may not."
        )
    if isinstance(checkpoint.recipe, LDMRecipe) and not checkpoint.report.trusted:
        rows = study.cohort.rows(Split.TRAINING)
        warning = run_with_progress(
            check_scale_factor(checkpoint, rows, wanted), "encode training volumes"
        )
        if warning:
            report.warn(warning)
        else:
            yield "scale       agrees with 1/std of the latents of training volumes"
    yield f"fits the study {study.folder}"
