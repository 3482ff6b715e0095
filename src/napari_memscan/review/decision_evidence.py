"""What a reader had before their eyes: stored with each decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.review.queue import QueueItem


def collect_evidence(
    item: QueueItem,
    result: ScanResult,
    k: int,
    *,
    layout: str = "",
    position: Sequence[float] | None = None,
    partner: str = "",
    hashes: Mapping[str, str] | None = None,
    blind: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return the evidence of a decision.

    Parameters
    ----------
    item : QueueItem
        What is decided on.
    result : ScanResult
        The scan that the scores are of.
    k : int
        Neighbours on the screen.
    layout : str
        Such as ``grid`` or ``pair``.
    position : sequence of 3 floats, optional
        Of the crosshair, in mm.
    partner : str
        Name of the training volume it was compared with; else the nearest.
    hashes : mapping of str to str, optional
        Of sample, model and embedder; see `Study.hashes`.
    blind : bool
        Scores and names were hidden.
    **more
        Whatever else was on the screen, as JSON values.
    """
    neighbours = item.neighbours[:k]
    return {
        "measure": result.measure,
        "score": item.score,
        "similarity": item.similarity,
        "p_value": item.p_value,
        "verdict": item.verdict,
        "rule": result.rule,
        "threshold": result.threshold,
        "embedder_hash": result.embedder_hash,
        "neighbours": [
            {"name": n.name, "similarity": n.similarity, "score": n.score} for n in neighbours
        ],
        "k": k,
        "layout": layout,
        "position": None if position is None else [round(float(x), 2) for x in position],
        "partner": partner or (neighbours[0].name if neighbours else ""),
        "blind": blind,
        **dict(hashes or {}),
        **more,
    }
