"""What readers of a study decided, how far they agree, and the files that other programs read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER
from napari_memscan.review.current_decisions import CurrentDecisions
from napari_memscan.review.plan_files import load_plans
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from napari_memscan.review.export import ImrmcFile
    from napari_memscan.review.findings import ReaderStudyFindings
    from napari_memscan.review.truth import Truth
    from napari_memscan.study import Study


@dataclass(frozen=True)
class ReaderComparison:
    """The readers of a study, at one moment.

    Attributes
    ----------
    name : str
        Of the study.
    standing : CurrentDecisions
        All events.
    head : str
        Hash of the last one.
    known : Truth
        What is known of samples.
    found : ReaderStudyFindings
    """

    name: str
    standing: CurrentDecisions
    head: str
    known: Truth
    found: ReaderStudyFindings

    def csv(self) -> str:
        """Return all events, one a row."""
        from napari_memscan.review.export import format_events_csv

        return format_events_csv(self.standing.events)

    def json(self) -> str:
        """Return all events and all numbers."""
        from napari_memscan.review.export import format_events_json

        more = {"study": self.name, "head": self.head, "findings": self.found.to_dict()}
        return format_events_json(self.standing.events, **more)

    def imrmc(self) -> ImrmcFile:
        """Return scores for the FDA's iMRMC, with truth."""
        from napari_memscan.review.export import MODALITIES, build_imrmc_file

        readings = {stage: self.standing.by_reader(stage) for stage in MODALITIES}
        return build_imrmc_file(readings, self.known, self.name)


def describe_imrmc(made: ImrmcFile, known: Truth) -> str:
    """Return what an iMRMC file holds, and what not."""
    return (
        f"Truth from {known.source}; {made.n_unknown} cases of unknown truth left out, "
        f"{made.n_assumed} scores without a confidence taken as 3."
    )


def compare_readers(study: Study, truth: str = "", *, anonymous: bool = False) -> ReaderComparison:
    """Return what readers decided, and how far they agree.

    Parameters
    ----------
    study : Study
    truth : str
        What is known of samples: ``program``, ``reader:NAME``, or a CSV file with the columns
        sample and truth. Validation volumes and planted copies are always known.
    anonymous : bool
        R1, R2 ... in place of readers' names.
    """
    from napari_memscan.review.export import assign_pseudonyms, replace_reader_names
    from napari_memscan.review.findings import analyse_reader_study

    store = study.store()
    try:
        standing, head = store.standing(), store.head()[1]
    finally:
        store.close()
    result = study.result()
    verdicts = {s.name: s.verdict for s in result.samples} if result is not None else {}
    known = _collect_truth(study.folder / BLIND_FOLDER, standing, verdicts, truth)
    if anonymous:
        if truth.startswith("reader:"):
            raise BadInput(
                "without names, a reader cannot be the truth: the name would be in the result.",
                Hint(HintKind.TRUTH),
            )
        standing = CurrentDecisions(
            replace_reader_names(standing.events, assign_pseudonyms(standing.events))
        )
    found = analyse_reader_study(standing, verdicts, known)
    return ReaderComparison(study.config.name, standing, head, known, found)


def _collect_truth(
    plans: Path, standing: CurrentDecisions, verdicts: dict[str, Verdict], source: str
) -> Truth:
    """Return what is known: of validation volumes and planted copies always."""
    from napari_memscan.review.truth import (
        build_truth_from_plans,
        build_truth_from_reader,
        build_truth_from_verdicts,
        read_truth_table,
    )

    own = build_truth_from_plans(load_plans(plans))
    if not source:
        return own
    if source == "program":
        return own.over(build_truth_from_verdicts(verdicts))
    if source.startswith("reader:"):
        reader = source.removeprefix("reader:").strip()
        decisions = standing.current(reader)
        if not decisions:
            raise BadInput(f"truth '{source}': {reader} has decided nothing.", Hint(HintKind.TRUTH))
        return own.over(build_truth_from_reader(decisions, reader))
    return own.over(read_truth_table(source))
