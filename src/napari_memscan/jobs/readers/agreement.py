"""What readers of a study decided, how far they agree, and the files that other programs read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput
from napari_memscan.review.current_decisions import Standing

if TYPE_CHECKING:
    from napari_memscan.review.export import Imrmc
    from napari_memscan.review.findings import Findings
    from napari_memscan.review.truth import Truth
    from napari_memscan.study import Study


@dataclass(frozen=True)
class Compared:
    """The readers of a study, at one moment.

    Attributes
    ----------
    name : str
        Of the study.
    standing : Standing
        All events.
    head : str
        Hash of the last one.
    known : Truth
        What is known of samples.
    found : Findings
    """

    name: str
    standing: Standing
    head: str
    known: Truth
    found: Findings

    def csv(self) -> str:
        """Return all events, one a row."""
        from napari_memscan.review.export import events_csv

        return events_csv(self.standing.events)

    def json(self) -> str:
        """Return all events and all numbers."""
        from napari_memscan.review.export import events_json

        more = {"study": self.name, "head": self.head, "findings": self.found.to_dict()}
        return events_json(self.standing.events, **more)

    def imrmc(self) -> Imrmc:
        """Return scores for the FDA's iMRMC, with truth."""
        from napari_memscan.review.export import MODALITIES, imrmc

        readings = {stage: self.standing.by_reader(stage) for stage in MODALITIES}
        return imrmc(readings, self.known, self.name)


def told(made: Imrmc, known: Truth) -> str:
    """Return what an iMRMC file holds, and what not."""
    return (
        f"Truth from {known.source}; {made.n_unknown} cases of unknown truth left out, "
        f"{made.n_assumed} scores without a confidence taken as 3."
    )


def compared(study: Study, truth: str = "", *, anonymous: bool = False) -> Compared:
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
    from napari_memscan.review.export import pseudonyms, renamed
    from napari_memscan.review.findings import findings

    store = study.store()
    try:
        standing, head = store.standing(), store.head()[1]
    finally:
        store.close()
    verdicts = _verdicts(study)
    known = _truth(study, standing, verdicts, truth)
    if anonymous:
        if truth.startswith("reader:"):
            raise BadInput("--anonymous and --truth reader:NAME: the name would be in the result.")
        standing = Standing(renamed(standing.events, pseudonyms(standing.events)))
    found = findings(standing, verdicts, known)
    return Compared(study.config.name, standing, head, known, found)


def _verdicts(study: Study) -> dict[str, str]:
    result = study.result()
    if result is None:
        return {}
    names = {str(study.sample_path(row)): row.sample for row in study.samples()}
    return {names[s.path]: s.verdict for s in result.samples if s.path in names}


def _truth(study: Study, standing: Standing, verdicts: dict[str, str], source: str) -> Truth:
    """Return what is known: of validation volumes and planted copies always."""
    from napari_memscan.jobs.readers.blind_study import FOLDER
    from napari_memscan.review.plans import load_plans
    from napari_memscan.review.truth import (
        truth_of_plans,
        truth_of_reader,
        truth_of_table,
        truth_of_verdicts,
    )

    own = truth_of_plans(load_plans(study.folder / FOLDER))
    if not source:
        return own
    if source == "program":
        return own.over(truth_of_verdicts(verdicts))
    if source.startswith("reader:"):
        reader = source.removeprefix("reader:").strip()
        decisions = standing.current(reader)
        if not decisions:
            raise BadInput(f"--truth {source}: {reader} has decided nothing.")
        return own.over(truth_of_reader(decisions, reader))
    return own.over(truth_of_table(source))
