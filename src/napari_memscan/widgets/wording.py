"""What a scan and its samples are in words, as short as a dock is narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.widgets.review_table import Row

if TYPE_CHECKING:
    from napari_memscan.detection.result import ScanResult
    from napari_memscan.review.queue import QueueItem


EXPLAINED = (
    "N_copies: synthetic volumes above the threshold tau. N_mem: training volumes with at least "
    "one copy. CI: 95 % Clopper-Pearson interval. Null floor: the share that this rule flags at "
    "these sizes if nothing were memorised."
)


def summary(result: ScanResult) -> str:
    """Return N_copies and N_mem with their intervals and null floors, two lines."""
    lines = [
        _line(
            "N_copies", result.n_copies, result.n_synthetic, result.copies_interval,
            result.null_floor_copies,
        ),
        _line("N_mem", result.n_mem, result.n_training, result.mem_interval, result.null_floor_mem),
    ]  # fmt: skip
    return "\n".join(lines)


def _line(name: str, k: int, n: int, interval: tuple[float, float], floor: float) -> str:
    low, high = (round(100 * share) for share in interval)
    text = f"{name} {k} of {n} = {k / max(n, 1):.0%}, CI {low}–{high}%, null floor {floor:.0%}"
    return text.replace("null floor ", "null\u00a0floor\u00a0")


def detail(item: QueueItem, result: ScanResult) -> str:
    """Return what is to be said of one sample: its nearest training volume and the verdict."""
    if not item.neighbours:
        return f"{item.sample}: no neighbours"
    near = item.neighbours[0]
    side = "above" if item.similarity > result.threshold else "not above"
    why = f". {item.verdict}: {item.reason}" if item.reason else ""
    return (
        f"{item.sample} is nearest to {Path(near.path).name}: similarity "
        f"{item.similarity:.{result.digits}f}, "
        f"{side} tau {result.threshold:.{result.digits}f}{why}"
    )


def row(item: QueueItem, digits: int) -> Row:
    """Return a sample as the table shows it."""
    return Row(
        sample=item.sample,
        similarity=item.similarity,
        digits=digits,
        verdict=item.verdict,
        reason=item.reason,
        decision=item.decision.decision if item.decision is not None else "",
        parent=item.parent or "",
        replaced_by=item.replaced_by or "",
    )


def evidence(item: QueueItem, result: ScanResult, k: int, plane: str) -> dict[str, Any]:
    """Return what a reader has before their eyes: stored with the decision."""
    return {
        "similarity": item.similarity,
        "verdict": item.verdict,
        "threshold": result.threshold,
        "embedder_hash": result.embedder_hash,
        "neighbours": [
            {"file": Path(n.path).name, "similarity": n.similarity} for n in item.neighbours[:k]
        ],
        "plane": plane,
    }
