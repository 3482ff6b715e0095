"""What is this? Looks at what a person chose for a study and says it in a few lines."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from napari_memscan.errors import BadInput, MemscanError
from napari_memscan.study import Study
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import Cohort
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.reader import read_volume
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.study.field_status import FieldChoice, FieldStatus
from napari_memscan.widgets.study.inspect_model import inspect_embedder, inspect_generator


def inspect_field(field: str, choice: FieldChoice | str) -> FieldStatus:
    """Examine one field of the form; whatever is wrong with it is in the finding.

    Parameters
    ----------
    field : {"folder", "cohort", "generator", "embedder"}
        Which choice.
    choice : FieldChoice or str
        What was chosen or typed, and for a model what was stated about it.
    """
    choice = FieldChoice(choice) if isinstance(choice, str) else choice
    try:
        if field == "folder":
            return _inspect_folder(choice.path)
        if field == "cohort":
            return _inspect_cohort(choice.path)
        if field == "embedder":
            return inspect_embedder(choice)
        return inspect_generator(choice) if choice.path else FieldStatus("", "info")
    except MemscanError as error:
        return FieldStatus(describe_error(error), "error", about_model=bool(choice.stated))


def _inspect_folder(text: str) -> FieldStatus:
    if not text:
        return FieldStatus("", "info")
    path = Path(text).expanduser()
    if path.is_file():
        raise BadInput(f"{path}: this is a file. Choose a folder, or the name of a new one.")
    if (path / "study.toml").exists():
        raise BadInput(f"{path}: holds a study already. Open it, or choose another folder.")
    if path.is_dir() and any(path.iterdir()):
        return FieldStatus("Not empty; the study will lie beside what is there.", "warning", path)
    return FieldStatus("A new study can be made here.", "ok", path)


def _inspect_cohort(text: str) -> FieldStatus:
    if not text:
        return FieldStatus("", "info")
    cohort = import_cohort(Path(text).expanduser())
    cohort.check()
    return FieldStatus(
        format_cohort_counts(cohort) + "".join(f"\n⚠ {warning}" for warning in cohort.warnings),
        "warning" if cohort.warnings else "ok",
        cohort,
    )


def format_cohort_counts(cohort: Cohort) -> str:
    """Return the sizes of a cohort: ``64 training, 40 validation, 40 unseen; 144 subjects``."""
    subjects = len({row.subject_id for row in cohort.rows() if row.subject_id})
    return cohort.format_counts() + (f"; {subjects} subjects" if subjects else "")


def has_source(study: Study) -> bool:
    """Return whether synthetic volumes can come from anywhere."""
    return study.config.generator is not None or study.cohort.counts()[Split.SYNTHETIC] > 0


def find_display_spacing(study: Study) -> tuple[float, float, float]:
    """Return the voxel size to show a study's volumes with; 1 mm where nobody says."""
    if study.config.preprocessing.spacing is not None:
        return study.config.preprocessing.spacing
    for sample in study.samples():
        # The same for all; a generated file is small and its header says what the model makes.
        try:
            spacing = read_volume(study.sample_path(sample)).spacing
        except MemscanError:
            continue  # one that is missing must not hide all others
        if spacing is not None:
            return spacing
        break
    for row in study.cohort.rows(Split.TRAINING):
        with suppress(MemscanError):
            return row.read().spacing or (1.0, 1.0, 1.0)
    return 1.0, 1.0, 1.0
