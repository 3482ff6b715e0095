"""What a scan and its samples are in words, as short as a dock is narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.report.conclusion import explain_no_power, find_deciding_rule
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import Neighbour, ScanResult
    from napari_memscan.review.events import ReadingEvent
    from napari_memscan.review.queue import QueueItem

SCORE_DIGITS = 3

SUMMARY_HELP = {
    "conformal": (
        "N_copies: synthetic volumes called copies. Near-duplicates are called too, but differ "
        "more. N_mem: training volumes that a called volume was found near. CI: 95 % "
        "Clopper-Pearson interval. Conformal: the share of mistakes among the called is bounded, "
        "on average over validation sets."
    ),
    "": (
        "N_copies: synthetic volumes above the threshold tau. N_mem: training volumes with at "
        "least one copy. CI: 95 % Clopper-Pearson interval. Null floor: the share that this rule "
        "flags at these sizes if nothing were memorised."
    ),
}
"""Of a rule, or of those with a tau."""

ALARM_LENGTH = 360
"""Characters of an alarm that are seen without hovering, at most; whole sentences of them."""


def explain_summary(result: ScanResult) -> str:
    """Return what the words of `format_scan_summary` mean."""
    return SUMMARY_HELP.get(result.rule, SUMMARY_HELP[""])


def format_scan_summary(result: ScanResult) -> str:
    """Return N_copies and N_mem with their intervals, and the rule that decides, line by line."""
    copies = _format_count_line(
        "N_copies",
        result.n_copies,
        result.n_synthetic,
        result.copies_interval,
        result.null_floor_copies,
    )
    others = f"near-duplicates {result.n_near}; undecided {result.count(Verdict.UNDECIDED)}"
    mem = _format_count_line(
        "N_mem", result.n_mem, result.n_training, result.mem_interval, result.null_floor_mem
    )
    if result.rule != "conformal":
        return f"{copies}; {others}\n{mem}\nrule {result.rule} on similarity"
    chance = find_deciding_rule(result).by_chance
    return f"{copies}\n{others}\n{mem}\nconformal: {chance}, expected wrong"


def format_verdict_counts(result: ScanResult) -> str:
    """Return how many volumes have which verdict, in a few words."""
    near = f", {result.n_near} near-duplicates" if result.rule == "conformal" else ""
    return f"{result.count(Verdict.COPY)} copies{near}, {result.count(Verdict.UNDECIDED)} undecided"


def _format_count_line(
    name: str, k: int, n: int, interval: tuple[float, float], floor: float | None
) -> str:
    low, high = (round(100 * share) for share in interval)
    text = f"{name} {k} of {n} = {k / max(n, 1):.0%}, CI {low}–{high}%"
    return text if floor is None else f"{text}, null\u00a0floor\u00a0{floor:.0%}"


def list_alarms(result: ScanResult) -> list[tuple[str, str]]:
    """Return why the verdicts must be doubted: what is seen, and all of it for hovering."""
    texts = []
    stopped = explain_no_power(result)
    if stopped:
        texts.append(f"{stopped[:1].upper()}{stopped[1:]}.")
    calibration = result.calibration
    if calibration is not None and calibration.assumption_shifted:
        texts.append(f"Assumption test failed: {calibration.assumption}")
    return [(_cut_sentences(text), text) for text in texts]


def _cut_sentences(text: str) -> str:
    """Return as many whole sentences as fit in `ALARM_LENGTH` characters, at least one."""
    sentences = text.split(". ")
    kept = sentences[0]
    for sentence in sentences[1:]:
        if len(kept) + len(sentence) > ALARM_LENGTH:
            break
        kept += f". {sentence}"
    return kept if kept.endswith(".") else f"{kept}."


def format_nearness(near: Neighbour, digits: int) -> str:
    """Return how near a neighbour is: score where it was registered, and similarity."""
    similarity = f"similarity {near.similarity:.{digits}f}"
    return similarity if near.score is None else f"{format_score(near.score)}, {similarity}"


def format_neighbour_title(near: Neighbour, item: QueueItem, result: ScanResult) -> str:
    """Return how near a neighbour is, for a pane; of the nearest one also the verdict.

    The verdict rests on the nearest one alone: others have none.
    """
    if near is not item.neighbours[0]:
        return _format_numbers(near, result)
    return f"{_format_numbers(near, result, item.p_value)}, {item.verdict}"


def format_synthetic_title(item: QueueItem, result: ScanResult) -> str:
    """Return a synthetic volume's title: its verdict, and how near the nearest one is."""
    text = f"Synthetic {item.sample}: {item.verdict}"
    if not item.neighbours:
        return text
    return f"{text}, {_format_numbers(item.neighbours[0], result, item.p_value)}"


def _format_numbers(near: Neighbour, result: ScanResult, p_value: float | None = None) -> str:
    """Return score, similarity, and after what verdicts rest on how rarely a patient is as near.

    A p-value that the rule does not say is that of a nearest one: of a second or third neighbour
    it is rather too large. The null of another rule is not of new patients: there it says nothing.
    """
    value = near.score if result.measure == "score" else near.similarity
    if p_value is None and value is not None and result.null and result.rule == "conformal":
        p_value = (1 + sum(null >= value for null in result.null)) / (1 + len(result.null))
    p = "" if p_value is None else f", p = {p_value:.2g}"
    if near.score is None:
        return f"similarity {near.similarity:.{result.digits}f}{p}"
    text = f"{format_score(near.score)}, similarity {near.similarity:.{result.digits - 1}f}"
    return text.replace(", ", f"{p}, ", 1) if result.measure == "score" else text + p


def format_score(score: float) -> str:
    """Return a score as it is shown."""
    return f"score {score:.{SCORE_DIGITS}f}"


def describe_sample(item: QueueItem, result: ScanResult) -> str:
    """Return what is to be said of one sample: its nearest, the verdict, what others decided."""
    if not item.neighbours:
        return f"{item.sample}: no neighbours"
    near = item.neighbours[0]
    text = f"{item.sample} is nearest to {near.name}: {format_nearness(near, result.digits)}"
    if result.measure == "score":
        text = text.replace(", similarity", " after registration, similarity")
        if near.displacement is not None:
            text += f", anatomy {near.displacement:.2f} mm apart on average"
    elif result.rule != "conformal" and result.threshold is not None:
        side = "above" if item.value > result.threshold else "not above"
        text += f", {side} tau {result.threshold:.{result.digits}f}"
    if item.p_value is not None:
        text += f", p = {item.p_value:.2g}"
    text += f". {item.verdict}{f': {item.reason}' if item.reason else ''}"
    others = [
        describe_decision(d)
        for d in item.decisions
        if item.own is None or d.reader != item.own.reader
    ]
    return "\n".join([text, *others])


def format_selftest(test: SelfTest) -> str:
    """Return what a self-test found, in one sentence."""
    copies, near, novel = (
        test.sum(of).found for of in (Verdict.COPY, Verdict.NEAR_DUPLICATE, Verdict.NOVEL)
    )
    low, high = copies.interval
    texts = []
    if copies.n:
        texts.append(f"finds {copies.k / copies.n:.2f} ({low:.2f} to {high:.2f}) of planted copies")
    if near.n:
        texts.append(f"{near.k / near.n:.2f} of near-duplicates")
    text = ", ".join(texts)
    return text + (f"; {novel.k / novel.n:.0%} false calls" if novel.n else "")


def describe_decision(decision: ReadingEvent) -> str:
    """Return what a reader decided, how surely, and the comment."""
    text = f"{decision.reader}: {decision.decision}"
    if decision.confidence is not None:
        text += f", confidence {decision.confidence} of 5"
    return f"{text}, {decision.note}" if decision.note else text
