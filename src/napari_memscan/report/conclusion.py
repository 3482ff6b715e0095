"""What a scan says in plain words: the same on the page and in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.calibration_record import RuleResult
    from napari_memscan.detection.results.scan_result import ScanResult

NO_PROOF = (
    "That is no proof that none is a copy: the search sees only what it was made to see, and a "
    "self-test says how much that is."
)


def find_deciding_rule(result: ScanResult) -> RuleResult:
    """Return the rule whose verdicts a scan gives."""
    return next(rule for rule in result.rules if rule.decides)


def name_threshold(result: ScanResult) -> str:
    """Return what the threshold of the deciding rule is called."""
    return "called from" if result.rule == "conformal" else "tau"


def get_class_limits(result: ScanResult) -> dict[str, float]:
    """Return the class limits on scores that are known, by what they are called."""
    c = result.calibration
    if c is None or result.measure != "score":
        return {}
    return {} if c.novel_limit is None else {"novel up to": c.novel_limit}


def explain_no_power(result: ScanResult) -> str:
    """Return why nothing could be called however near it is; empty where something could."""
    return find_deciding_rule(result).note


def get_chance_share(result: ScanResult) -> float | None:
    """Return the share that the deciding rule calls if nothing is memorised; None if none."""
    if result.rule == "size-matched":
        return 1 - result.quantile
    return result.null_floor_copies


def describe_error_guarantee(result: ScanResult) -> str:
    """Say, as a sentence, what the deciding rule holds its mistakes to."""
    chance = find_deciding_rule(result).by_chance
    if result.rule != "conformal":
        return f"By chance it calls {chance}."
    return (
        f"{chance[:1].upper()}{chance[1:]} over validation sets, are expected to be wrong: novel "
        "volumes that are no nearer to a training volume than a new patient can be. With a single "
        "validation set it can be more. If nothing were memorised, a scan would call anything at "
        "all no more often than that."
    )


def is_selftest_stale(result: ScanResult, selftest: SelfTest | None) -> bool:
    """Return whether a self-test measured another detector than the one that scanned.

    Of a scan without registration it says nothing.
    """
    if selftest is None:
        return False
    c = result.calibration
    return c is None or not c.detector_hash or c.detector_hash != selftest.detector_hash


def compare_with_selftest(result: ScanResult, selftest: SelfTest) -> str:
    """Say how much more a scan asks of a volume than its self-test does; empty where it does not.

    A self-test judges one volume at a time. The procedure of Benjamini and Hochberg compares the
    smallest of m p-values with q / m.
    """
    c = result.calibration
    if result.rule != "conformal" or c is None:
        return ""
    n = result.n_synthetic
    text = (
        f"The scan asks more than the self-test, which judges each volume alone at "
        f"{selftest.level:.0%} false calls: it judges all {n} together at q = {c.q:g}, so that a "
        f"single copy among them is called only where at most {c.q / n:.2%} of new patients are as "
        "near"
    )
    if c.least_discoveries > 1:
        text += (
            f". {c.n_null} validation subjects cannot show so little: before any is called, at "
            f"least {c.least_discoveries} volumes must be nearer than all of them"
        )
    near = selftest.above_all
    if near is not None:
        text += f". Of planted copies {near} are nearer than all validation subjects"
    return text + "."


def compose_headline(result: ScanResult) -> str:
    """Say in a few words what a scan found: the first line of a report."""
    called = result.n_copies + result.n_near
    if explain_no_power(result) and not any(s.verdict.called for s in result.samples):
        return "No answer"
    if not called:
        undecided = result.count(Verdict.UNDECIDED)
        return "No copies called" + (f", {undecided} undecided" if undecided else "")
    c, floor = result.calibration, get_chance_share(result) or 0.0
    if c is not None and c.assumption_shifted:
        return "Possible copies, of unknown error rate"
    if result.rule != "conformal" and result.copies_interval[0] <= floor:
        return "No more copies called than by chance"
    return "Copies found"


def compose_conclusion(result: ScanResult) -> str:
    """Say in plain words what the numbers do and do not show."""
    stopped = explain_no_power(result)
    decided = any(s.verdict.called for s in result.samples)
    if stopped and not decided:
        return (
            f"No answer: {stopped}. The list below is in order of nearness all the same; look at "
            "its first pairs."
        )
    return (
        _conclude_conformal(result) if result.rule == "conformal" else _conclude_threshold(result)
    )


def _conclude_conformal(result: ScanResult) -> str:
    undecided, called = result.count(Verdict.UNDECIDED), result.n_copies + result.n_near
    low, high = result.copies_interval
    n = result.n_synthetic
    found = (
        f"{called} of {n} synthetic volumes are nearer to a training volume than new patients are: "
        f"{result.n_copies} are called copies ({result.n_copies / n:.0%}, 95 % interval {low:.0%} "
        f"to {high:.0%}) and {result.n_near} near-duplicates. Undecided: {undecided}."
    )
    if undecided:
        found += " That is not novel: a person should read them too."
    if not called:
        return f"{found} {NO_PROOF}"
    text = f"{found} {describe_error_guarantee(result)}"
    calibration = result.calibration
    if calibration is not None and calibration.assumption_shifted:
        return (
            f"{text} But the assumption behind this error rate is seen to fail (below): the count "
            "alone proves nothing, and each called volume must be looked at beside its neighbour."
        )
    return (
        f"{text} This is evidence that the model has memorised training volumes. Do not release "
        "the called volumes. It does not mean that each of them is a copy, nor that the others "
        "are free of copies."
    )


def _conclude_threshold(result: ScanResult) -> str:
    k, n = result.n_copies, result.n_synthetic
    low, high = result.copies_interval
    found = (
        f"{k} of {n} synthetic volumes ({k / n:.0%}, 95 % interval {low:.0%} to {high:.0%}) are "
        "called copies."
    )
    if not k:
        return f"{found} {NO_PROOF}"
    floor = get_chance_share(result) or 0.0
    if result.copies_interval[0] > floor:
        return (
            f"{found} That is more than the {floor:.0%} this rule calls by chance: this model has "
            "memorised training volumes. Do not release the called volumes. It does not mean that "
            "each of them is a copy, nor that the others are free of copies."
        )
    return (
        f"{found} About {floor:.0%} would be called by chance at these sizes, so this count alone "
        "does not show memorisation; single pairs may. A person should read the called pairs "
        "before a release. It does not mean that the others are free of copies."
    )
