"""What step 4 has done in the background; none of it knows Qt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.errors import JobFailed
from napari_memscan.study import Study


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written.

    Attributes
    ----------
    page : Path
    no_pdf : str
        Why it is not printed; empty where it is.
    """

    page: Path
    no_pdf: str


def write_study_report(study: Study) -> Generator[jobs.Progress, None, WrittenReport]:
    """Write the report, and print it where that is possible here."""
    from napari_memscan.report.pdf import write_pdf

    yield jobs.Progress(0, 2, "Writing the page …")
    page = jobs.report_study(study)
    yield jobs.Progress(1, 2, "Printing the PDF …")
    try:
        write_pdf(page)
    except JobFailed as error:
        return WrittenReport(page, str(error))
    return WrittenReport(page, "")


def resolve_release_folder(study: Study, text: str) -> Path:
    """Return what is meant by a folder as it was typed: a mere name lies beside the study."""
    return study.folder.parent / Path(text).expanduser()


def count_open_questions(study: Study) -> int:
    """Return how many questions of the datasheet nobody has answered."""
    from napari_memscan.report.datasheet import PUBLISHER_QUESTIONS

    return len(PUBLISHER_QUESTIONS) - len(study.config.release.answers)
