"""The columns of the queue: one entry for each, and all that the table knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_memscan.review.queue import QueueItem
from napari_memscan.typing import Verdict
from napari_memscan.widgets.review.queue_text import format_item_decision, format_lineage

VERDICT_LABELS: dict[str, str] = {
    Verdict.COPY: "▲ copy",
    Verdict.NEAR_DUPLICATE: "△ near-dup.",
    Verdict.NOVEL: "○ novel",
    Verdict.UNDECIDED: "? undecided",
}
MEASURES = {
    "similarity": ("Similarity", "Of the embeddings of the volume and its nearest training volume"),
    "score": ("Score", "Local correlation with the nearest training volume after registration"),
}
"""What verdicts rest on: the title of its column, and what it is."""


@dataclass(frozen=True)
class Column:
    """A column of the queue.

    Attributes
    ----------
    title : str
        Its head.
    text : callable
        What a cell says of an item.
    sort_key : callable
        What items are sorted by; those for which it returns None come last, up or down.
    tooltip : str
        What the title says on hovering.
    spoken : callable, optional
        What is read aloud of a cell, where that is more than its text.
    number : bool
        Set to the right, and the first click on the title puts the largest first.
    """

    title: str
    text: Callable[[QueueItem], str]
    sort_key: Callable[[QueueItem], Any]
    tooltip: str = ""
    spoken: Callable[[QueueItem], str] | None = None
    number: bool = False


def list_columns(measure: str = "similarity", digits: int = 3) -> tuple[Column, ...]:
    """Return all columns of the queue, from left to right.

    Parameters
    ----------
    measure : str
        What the values are, one of `MEASURES`.
    digits : int
        Decimals of a value.
    """
    title, meaning = MEASURES[measure]
    return (
        Column("Volume", lambda item: item.sample, lambda item: (len(item.sample), item.sample)),
        Column(
            title,
            lambda item: f"{item.value:.{digits}f}",
            lambda item: item.value,
            tooltip=f"{meaning}; larger is nearer",
            spoken=lambda item: f"{measure} {item.value:.{digits}f}, larger is nearer",
            number=True,
        ),
        Column(
            "Verdict",
            lambda item: VERDICT_LABELS.get(item.verdict, f"? {item.verdict}"),
            lambda item: item.verdict,
        ),
        Column(
            "Decision",
            lambda item: ", ".join(
                filter(None, (format_item_decision(item), format_lineage(item)))
            ),
            lambda item: item.decision.decision if item.decision is not None else None,
        ),
    )
