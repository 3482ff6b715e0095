"""What a row of the queue says."""

from __future__ import annotations

from napari_memscan.review.queue import QueueItem
from napari_memscan.typing import Decision
from napari_memscan.widgets.common.text import describe_decision

DECISION_LABELS: dict[str, str] = {
    Decision.COPY: "✖ copy",
    Decision.NOT_A_COPY: "✔ not a copy",
    Decision.UNSURE: "? unsure",
}


def format_item_decision(item: QueueItem) -> str:
    """Return what was decided; of several readers the present one's, and whether others differ."""
    decision = item.own or item.decision
    if decision is None:
        return ""
    text = DECISION_LABELS.get(decision.decision, decision.decision)
    if decision.confidence is not None:
        text += f" {decision.confidence}/5"
    if item.readers_disagree:
        text += " ≠"
    return text


def format_lineage(item: QueueItem) -> str:
    """Return ``replaced by ...``, ``replaces ...``, both, or nothing."""
    parts = [f"replaced by {item.replaced_by}"] if item.replaced_by else []
    parts += [f"replaces {item.parent}"] if item.parent else []
    return ", ".join(parts)


def explain_item(item: QueueItem) -> str:
    """Return all that is known of an item, one a line."""
    lines = [item.reason, "" if item.p_value is None else f"p = {item.p_value:.2g}"]
    lines += [describe_decision(decision) for decision in item.decisions]
    if item.readers_disagree:
        lines.append("Readers disagree (≠).")
    if item.program_disagrees:
        lines.append("A reader contradicts the program.")
    lines.append(format_lineage(item))
    return "\n".join(line for line in lines if line)
