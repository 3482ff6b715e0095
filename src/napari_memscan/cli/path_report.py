"""What a file or folder is, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.trusted.trust_check import (
    explain_refusal,
    needs_trust,
    parse_plug_in,
)
from napari_memscan.cli.console import note
from napari_memscan.errors import BadInput
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.checkpoints.checkpoint import Checkpoint
    from napari_memscan.checkpoints.inspection import Inspection
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.study import Study


@dataclass
class PathReport:
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
    report: PathReport | None = None,
) -> Iterator[str]:
    """Yield lines that say what `path` is.

    Parameters
    ----------
    path : path
        Study, checkpoint, weight file, cohort, volume, or folder of volumes; a plug-in with
        `trust`.
    study : Path, optional
        Also say whether it fits.
    declared : Declared, optional
        What the files of a checkpoint do not say.
    trust : bool
        Code that comes with a checkpoint may be run.
    report : Report, optional
        Filled on the way.

    Raises
    ------
    BadInput
        It cannot be used; says why.
    """
    from napari_memscan.study import Study
    from napari_memscan.volumes.reader import is_volume_path

    report = report or PathReport()
    fits = None if study is None else Study.open(study)
    spec, path = str(path), Path(path)
    if trust and needs_trust(spec):
        yield from check_trusted_model(spec, declared, fits, report)
        return
    if parse_plug_in(spec) is not None:
        raise BadInput(explain_refusal(spec))
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder. Check the path.")
    if not path.is_file() and not path.is_dir():
        raise BadInput(f"{path}: neither a file nor a folder, but a device or pipe. Choose a file.")
    if path.name == "study.toml" or (path / "study.toml").is_file():
        report.values["what"] = "study"
        yield from _check_study(Study.open(path), report)
    elif is_volume_path(path):
        report.values["what"] = "volume"
        yield from _check_volume(path, fits)
    elif _is_table(path):
        report.values["what"] = "cohort"
        yield from _check_cohort(path, report)
    else:
        found = inspect_checkpoint(path, declared)
        if found.candidates or path.is_file():
            report.values |= found.as_dict()
            yield from check_checkpoint(found, fits, report)
        elif _is_cohort(path):
            report.values["what"] = "cohort"
            yield from _check_cohort(path, report)
        elif _has_weights(path):
            raise BadInput(found.problem)
        else:
            report.values["what"] = "volumes"
            yield from _check_folder(path, fits)


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    return path.suffix.lower() == ".csv" or path.name.lower() == "dataset.json"


def _has_weights(folder: Path) -> bool:
    from napari_memscan.checkpoints.probe import WEIGHT_SUFFIXES

    return any(child.suffix.lower() in WEIGHT_SUFFIXES for child in folder.iterdir())


def _is_cohort(folder: Path) -> bool:
    from napari_memscan.volumes.cohort import SPLITS
    from napari_memscan.volumes.importers import SPLIT_ALIASES

    names = {child.name.lower() for child in folder.iterdir()}
    return bool(names & {"cohort.csv", "dataset.json", *SPLITS, *SPLIT_ALIASES})


def _check_study(study: Study, report: PathReport) -> Iterator[str]:
    from napari_memscan.cli.new import describe_models, format_counts

    config = study.config
    yield f"{study.folder}: study '{config.name}'"
    yield f"cohort      {format_counts(study.cohort)}"
    yield f"volumes     {config.preprocessing}"
    if config.generator is not None:
        study.generator()
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


def _check_folder(path: Path, study: Study | None) -> Iterator[str]:
    """Read all volumes, and name all that cannot be read, not only the first."""
    from napari_memscan.volumes.reader import list_volumes

    files = list_volumes(path)
    bad = 0
    for file in files:
        try:
            for _ in _check_volume(file, study):
                pass
        except BadInput as error:
            bad += 1
            yield str(error)
    if bad:
        raise BadInput(f"{path}: {bad} of {len(files)} volumes cannot be used.")
    yield f"{path}: {len(files)} volumes, all can be read"
    if study is not None:
        yield f"fit the study {study.folder}"


def _check_cohort(path: Path, report: PathReport) -> Iterator[str]:
    from napari_memscan.cli.new import format_counts
    from napari_memscan.volumes.importers import import_cohort

    cohort = import_cohort(path)
    cohort.check()
    yield f"{path}: cohort of {len(cohort.table)} volumes: {format_counts(cohort)}"
    subjects = {row.subject_id for row in cohort.rows()} - {""}
    yield f"subjects    {len(subjects)} known"
    for warning in cohort.warnings:
        report.warn(warning)


def check_checkpoint(found: Inspection, study: Study | None, report: PathReport) -> Iterator[str]:
    """Yield what a checkpoint is, put its weights into networks, and ask them for a step."""
    yield from found.lines()
    if found.checkpoint is None and study is not None and found.only_scale_missing:
        found = _estimate_scale(found, study)
        report.values |= found.as_dict()
        yield from found.lines()
    if found.checkpoint is None:
        raise BadInput(found.problem)
    for warning in found.checkpoint.report.warnings:
        report.warn(warning)
    recipe = found.checkpoint.recipe
    if recipe.kind == "ldm":
        from napari_memscan.generators.ldm import LDMGenerator

        yield from _run_self_test(LDMGenerator(found.path, "cpu", found.declared), report)
    else:
        from napari_memscan.embedders.loading import load_embedder

        load_embedder(found.path, "cpu", found.declared)
    yield "fits        recipe and weights fit each other"
    if study is not None:
        yield from _check_fit(found.checkpoint, study, report)


def _estimate_scale(found: Inspection, study: Study) -> Inspection:
    """Return it with the scale factor that the study's training volumes have."""
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.cli.console import run_with_progress
    from napari_memscan.jobs.models.new_study import get_scale_overrides, load_with_estimated_scale

    declared = found.declared or ModelOverrides()
    rows = study.cohort.rows("training")
    job = load_with_estimated_scale(
        found.path, declared, rows, study.config.preprocessing.intensity
    )
    scale = get_scale_overrides(run_with_progress(job, "encode training volumes"))
    return inspect_checkpoint(found.path, declared.model_copy(update=scale))


def _run_self_test(generator: LDMGenerator, report: PathReport) -> Iterator[str]:
    from napari_memscan.generators.model_check import check_model, require_passed

    checks = check_model(generator)
    report.values["self_test"] = [vars(check) for check in checks]
    for warning in require_passed(checks, str(generator.path)):
        report.warn(warning)
    yield "self-test   " + "; ".join(check.text for check in checks if check.passed)


def _check_fit(checkpoint: Checkpoint, study: Study, report: PathReport) -> Iterator[str]:
    from napari_memscan.checkpoints.recipe import LDMRecipe
    from napari_memscan.cli.console import run_with_progress
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
    if isinstance(checkpoint.recipe, LDMRecipe):
        rows = study.cohort.rows("training")
        warning = run_with_progress(
            check_scale_factor(checkpoint, rows, wanted), "encode training volumes"
        )
        if warning:
            report.warn(warning)
        else:
            yield "scale       agrees with 1/std of the latents of training volumes"
    yield f"fits the study {study.folder}"


def check_trusted_model(
    spec: str, declared: ModelOverrides | None, study: Study | None, report: PathReport
) -> Iterator[str]:
    """Yield what a model is whose code is run, in a process of its own, since the user said so."""
    from napari_memscan.embedders.loading import load_embedder
    from napari_memscan.generators.ldm import LDMGenerator

    report.values |= {"what": "checkpoint", "ran_code": True}
    generator = None
    if parse_plug_in(spec) is not None or Path(spec).is_dir():
        try:
            generator = LDMGenerator(spec, "cpu", declared, trust=True)
        except BadInput as problem:
            # A plug-in may make either; which of the two shows only when it has run.
            if "embedder" not in str(problem):
                raise
    if generator is None:
        embedder = load_embedder(spec, "cpu", declared, trust=True)
        yield f"{spec}: {embedder.name}"
        yield f"embeds      {embedder.input_shape} to {embedder.dim} numbers"
        return
    yield f"{spec}: LDM of its own code"
    yield from (f"            {text}" for text in generator.report.lines())
    for warning in generator.report.warnings:
        report.warn(warning)
    yield from _run_self_test(generator, report)
    made = generator.recipe.preprocessing.shape
    if study is not None and made != study.config.preprocessing.shape:
        raise BadInput(
            f"{spec}: makes volumes of {made}, the study's are {study.config.preprocessing.shape}."
        )
