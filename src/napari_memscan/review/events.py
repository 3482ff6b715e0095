"""What the store keeps: events, chained by their hashes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from napari_memscan.errors import BadInput
from napari_memscan.typing import Decision, Stage


class ForcedChoice(StrEnum):
    """For what a reader took the synthetic one of two volumes, when asked which one is real."""

    REAL = "real"
    SYNTHETIC = "synthetic"


class EventKind(StrEnum):
    """What is recorded and is no answer."""

    WITHDRAWN = "withdrawn"
    """The reader takes back the latest decision."""
    REVEALED = "unveiled"
    """From here on the reader knows what the case of a blind study was."""


Said: TypeAlias = Decision | ForcedChoice | EventKind
SAID: dict[str, Said] = {
    word: word for kind in (Decision, ForcedChoice, EventKind) for word in kind
}
"""All that can be recorded, by its stored form."""

GENESIS_HASH = "0" * 64
"""What the first event names as its previous hash."""


@dataclass(frozen=True)
class ReadingEvent:
    """What a person said of a sample, or took back.

    Attributes
    ----------
    id : int
        Ascending in the order of recording, without gaps.
    sample : str
        Such as ``s000003``; in a blind study the name of a validation volume, or ``p000012``
        for a planted copy.
    decision : Decision, ForcedChoice or EventKind
        A `ForcedChoice` in that stage.
    reader : str
        Who.
    time : str
        UTC, ISO 8601.
    note : str
        Free text.
    evidence : dict
        What was on screen: position, layout, similarity, neighbours, threshold, hashes.
    withdraws : int or None
        For a withdrawal: the id of what it takes back.
    confidence : int or None
        1 (guessed) to 5 (certain).
    seconds : float or None
        Between showing and deciding.
    stage : Stage
    version : str
        Of this program.
    restores : int or None
        For a decision that was undone and made again: the id of the undone one.
    previous, hash : str
        SHA-256 of the event before, and of this one; 64 hexadecimal digits.
    """

    id: int
    sample: str
    decision: Said
    reader: str
    time: str
    note: str
    evidence: dict[str, Any]
    withdraws: int | None = None
    confidence: int | None = None
    seconds: float | None = None
    stage: Stage = Stage.OPEN
    version: str = ""
    restores: int | None = None
    previous: str = ""
    hash: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any], where: str = "decisions") -> ReadingEvent:
        """Return the event of a row of the database.

        Raises
        ------
        BadInput
            It holds a decision or stage that this program does not know; names `where`.
        """
        if row["decision"] not in SAID or row["stage"] not in list(Stage):
            raise BadInput(
                f"{where}, event {row['id']}: decision '{row['decision']}' in stage "
                f"'{row['stage']}' is unknown; one of {', '.join(SAID)} in one of "
                f"{', '.join(Stage)} is expected."
            )
        read = {
            "decision": SAID[row["decision"]],
            "stage": Stage(row["stage"]),
            "evidence": json.loads(row["evidence"]),
        }
        return cls(**{**row, **read})


EVENT_COLUMNS = tuple(field.name for field in fields(ReadingEvent))


def to_canonical_json(value: Any) -> str:
    """Return a value as JSON: sorted keys, no spaces, the same text for the same value."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text


def compute_event_hash(row: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the canonical JSON of all columns but the hash itself.

    Parameters
    ----------
    row : mapping
        As the database holds it: the evidence is the text of the column.
    """
    text = to_canonical_json({name: row[name] for name in EVENT_COLUMNS if name != "hash"})
    # Text that came into a database by another way may not be UTF-8; it then fits no hash.
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


@cache
def get_program_version() -> str:
    """Return the version of this program, as it is recorded with each event."""
    try:
        return version("napari-memscan")
    except PackageNotFoundError:
        return "0+unknown"


def make_storable(text: str) -> str:
    """Return a text that every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def serialise_evidence(evidence: Mapping[str, Any]) -> str:
    """Return evidence as canonical JSON; a number that is none, such as NaN, becomes null.

    Raises
    ------
    BadInput
        It holds what JSON cannot, such as an array.
    """
    try:
        return make_storable(to_canonical_json(_replace_nonfinite(dict(evidence))))
    except (TypeError, ValueError) as error:
        raise BadInput(f"evidence of a decision: {error}. Only JSON values can be kept.") from error


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _replace_nonfinite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(v) for v in value]
    if isinstance(value, float):
        # NumPy's own floats are floats, too, and are written as such.
        return float(value) if math.isfinite(value) else None
    return value


def check_decision(
    decision: str, reader: str, stage: str, confidence: int | None, seconds: float | None
) -> None:
    """Raise BadInput where a decision is not one."""
    if stage not in list(Stage):
        raise BadInput(f"stage '{stage}': one of {', '.join(Stage)} is expected.")
    known: list[str] = [*(ForcedChoice if stage == Stage.FORCED_CHOICE else Decision)]
    if decision not in known:
        raise BadInput(f"decision '{decision}': one of {', '.join(known)} is expected.")
    if not reader.strip():
        raise BadInput("a decision needs the reader's name.")
    if confidence is not None and confidence not in range(1, 6):
        raise BadInput(f"confidence {confidence}: a whole number from 1 to 5 is expected.")
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise BadInput(f"reading time {seconds}: a number of seconds is expected.")
