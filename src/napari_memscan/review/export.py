"""Everything recorded, for other programs: CSV, JSON, and the format of iMRMC."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.review.agreement import DecisionsByReader
from napari_memscan.review.events import EVENT_COLUMNS, ReadingEvent, to_canonical_json
from napari_memscan.review.truth import Truth
from napari_memscan.typing import Decision, Stage

DEFAULT_CONFIDENCE = 3
"""Confidence that is taken where a reader gave none."""
MODALITIES = (Stage.OPEN, Stage.BLIND, Stage.REVEALED)
"""Stages whose decisions are scores; each is a modality of its own."""


def assign_pseudonyms(events: Iterable[ReadingEvent]) -> dict[str, str]:
    """Return reader to ``R1``, ``R2`` ... in the order of their first event."""
    readers = list(dict.fromkeys(event.reader for event in events))
    return {reader: f"R{i}" for i, reader in enumerate(readers, 1)}


def replace_reader_names(
    events: Iterable[ReadingEvent], names: Mapping[str, str]
) -> list[ReadingEvent]:
    """Return the events under other readers' names; their hashes fit the true ones only."""
    return [replace(event, reader=names.get(event.reader, event.reader)) for event in events]


def format_events_csv(events: Iterable[ReadingEvent]) -> str:
    """Return one row an event, with all columns; evidence is JSON in its column.

    What a reader typed and a spreadsheet would run as a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, EVENT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for event in events:
        row = vars(event) | {"evidence": to_canonical_json(event.evidence)}
        for name in ("sample", "reader", "note"):
            if str(row[name]).lstrip()[:1] in tuple("=+-@"):
                row[name] = f"'{row[name]}"
        writer.writerow(row)
    return out.getvalue()


def format_events_json(events: Iterable[ReadingEvent], **more: object) -> str:
    """Return one JSON object with all events as they are, and whatever else is given."""
    value = {"events": [asdict(event) for event in events], **more}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class ImrmcFile:
    """A reader study in the format of iMRMC.

    Attributes
    ----------
    text : str
        Of the file.
    n_cases, n_scores : int
        Cases with a truth and a score, and scores.
    n_unknown : int
        Cases that were read and whose truth is not known: left out.
    n_assumed : int
        Scores for which no confidence was given.
    """

    text: str
    n_cases: int
    n_scores: int
    n_unknown: int
    n_assumed: int


def build_imrmc_file(
    by_stage: Mapping[Stage, DecisionsByReader], truth: Truth, name: str = ""
) -> ImrmcFile:
    """Return a reader study for the iMRMC software of the FDA.

    A score is the confidence, positive for copy, negative for not a copy, 0 for unsure. Each stage
    with decisions is a modality: blind against revealed is a comparison of two.

    Parameters
    ----------
    by_stage : mapping
        Stage to reader to case to decision.
    truth : Truth
        Of the cases; others are left out.
    name : str
        Of the study, for the header.

    Raises
    ------
    BadInput
        No case that was read is known to be a copy, or none is known not to be one.
    """
    readings = [
        (reader, case, stage, decision)
        for stage in MODALITIES
        for reader, of in sorted(by_stage.get(stage, {}).items())
        for case, decision in sorted(of.items())
    ]
    read = {case for _, case, _, _ in readings}
    cases = sorted(read & set(truth.values))
    n1 = sum(truth.values[case] for case in cases)
    for count, what in ((n1, "a copy"), (len(cases) - n1, "no copy")):
        if not count:
            raise BadInput(
                f"iMRMC: no case that was read is known to be {what}; both kinds are needed. Truth "
                f"is from {truth.source}.",
                Hint(HintKind.TRUTH),
            )
    names = _make_reader_names([reader for reader, *_ in readings])
    rows, assumed = [], 0
    for reader, case, stage, decision in readings:
        if case not in truth.values:
            continue
        assumed += decision.confidence is None and decision.decision != Decision.UNSURE
        rows.append(f"{names[reader]},{case},{stage},{_compute_score(decision)}")
    readers = {row.split(",")[0] for row in rows}
    stages = {row.split(",")[2] for row in rows}
    unknown = len(read) - len(cases)
    header = [
        f"Reader study {_strip_separators(name)}".strip(),
        "Score: confidence 1 to 5, positive for copy, negative for not a copy, 0 for unsure",
        f"Truth from {_strip_separators(truth.source)}",
        f"{unknown} cases without a known truth are left out",
        f"{assumed} scores without a confidence are taken as {DEFAULT_CONFIDENCE}",
        f"N0: {len(cases) - n1}",
        f"N1: {n1}",
        f"NR: {len(readers)}",
        f"NM: {len(stages)}",
        "BEGIN DATA:",
    ]
    truths = [f"truth,{case},truth,{truth.values[case]}" for case in cases]
    text = "\n".join([*header, *truths, *rows]) + "\n"
    return ImrmcFile(text, len(cases), len(rows), unknown, assumed)


def _compute_score(decision: ReadingEvent) -> int:
    signs: dict[str, int] = {Decision.COPY: 1, Decision.NOT_A_COPY: -1}
    sign = signs.get(decision.decision, 0)
    return sign * (DEFAULT_CONFIDENCE if decision.confidence is None else decision.confidence)


def _strip_separators(text: str) -> str:
    """Return a text without what the format means something by."""
    return " ".join(text.replace(",", " ").replace(":", " ").split())


def _make_reader_names(readers: Sequence[str]) -> dict[str, str]:
    """Return readers' names as the format takes them, no two the same."""
    names: dict[str, str] = {}
    for reader in dict.fromkeys(readers):
        name = _strip_separators(reader)
        # These two mean the truth, not a reader.
        if name.casefold() in ("truth", "-1"):
            name = f"reader {name}"
        while name in names.values():
            name += "_"
        names[reader] = name
    return names
