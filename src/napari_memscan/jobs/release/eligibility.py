"""Which samples of a study may be released, and whether the study is fit to say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.jobs.release.consistency import (
    abbreviate_names,
    require_current_scan,
    require_unmodified_files,
)
from napari_memscan.study import SampleRow, Study

if TYPE_CHECKING:
    from napari_memscan.config import ReleaseConfig, StudyConfig
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.report.policy import ReleasePolicy
    from napari_memscan.review.current_decisions import CurrentDecisions
    from napari_memscan.review.events import ReadingEvent


@dataclass(frozen=True, eq=False)
class ReleaseAssessment:
    """All samples of a study, judged by its policy; read once, so that nothing changes meanwhile.

    Attributes
    ----------
    rows : dict of str to SampleRow
        By sample, in the order they were made.
    result : ScanResult
        Of the last scan.
    selftest : SelfTest or None
    policy : Policy
        As it was applied.
    current : dict of str to ReadingEvent
        Sample to its latest standing decision.
    by_reader : dict
        Reader to sample to standing decision, of samples of this study.
    pseudonyms : dict of str to str
        Reader to R1, R2 ...
    standing : CurrentDecisions
        Behind them, with readers by name.
    events, head : int, str
        Of the chain of decisions.
    passed, rejected, unread : dict of str to str
        Sample to why; somebody must read those of the last first.
    warnings : tuple of str
        What the publisher should know first.
    """

    rows: dict[str, SampleRow]
    result: ScanResult
    selftest: SelfTest | None
    policy: ReleasePolicy
    current: dict[str, ReadingEvent]
    by_reader: dict[str, dict[str, ReadingEvent]]
    pseudonyms: dict[str, str]
    standing: CurrentDecisions
    events: int
    head: str
    passed: dict[str, str]
    rejected: dict[str, str]
    unread: dict[str, str]
    warnings: tuple[str, ...]

    def said(self, sample: str) -> dict[str, str]:
        """Return reader to what this one decided last of a sample."""
        return {
            reader: decisions[sample].decision
            for reader, decisions in self.by_reader.items()
            if sample in decisions
        }

    def reader(self, name: str, named: bool) -> str:
        """Return what a reader is called outside."""
        return name if named else self.pseudonyms[name]


def assess_release(study: Study, expect: str = "") -> ReleaseAssessment:
    """Judge every sample of a study that is read.

    Parameters
    ----------
    study, expect
        As for `assess_samples`.

    Raises
    ------
    BadInput
        As `assess_samples` and `require_read`.
    JobFailed
        As `assess_samples`.
    """
    found = assess_samples(study, expect)
    require_read(study, found)
    return found


def assess_samples(study: Study, expect: str = "") -> ReleaseAssessment:
    """Judge every sample of a study, read or not.

    Parameters
    ----------
    study : Study
    expect : str
        A head of the decisions noted earlier: it must be in the chain.

    Raises
    ------
    BadInput
        Not scanned since the last sample.
    JobFailed
        The chain of decisions is broken.
    """
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.report.policy import PASSED, REJECTED, UNREAD
    from napari_memscan.review.export import assign_pseudonyms

    rows = {row.sample: row for row in study.samples()}
    result = require_current_scan(study, rows)
    selftest = SelfTest.load(study.scan_dir)
    standing, events, head = _load_decisions(study, expect)
    verdicts = {s.name: s.verdict for s in result.samples}
    by_reader = {
        reader: {s: d for s, d in decisions.items() if s in rows}
        for reader, decisions in standing.by_reader().items()
    }
    by_reader = {reader: decisions for reader, decisions in by_reader.items() if decisions}
    policy = resolve_policy(study.config, result, selftest, len(by_reader))
    replaced = set(study.lineage().values())
    by_status: dict[str, dict[str, str]] = {PASSED: {}, REJECTED: {}, UNREAD: {}}
    for sample in rows:
        said = [d[sample].decision for d in by_reader.values() if sample in d]
        outcome = policy.outcome(verdicts[sample], said, sample in replaced)
        by_status[outcome.status][sample] = outcome.why
    return ReleaseAssessment(
        rows=rows,
        result=result,
        selftest=selftest,
        policy=policy,
        current={s: d for s, d in standing.current().items() if s in rows},
        by_reader=by_reader,
        pseudonyms=assign_pseudonyms(standing.events),
        standing=standing,
        events=events,
        head=head,
        passed=by_status[PASSED],
        rejected=by_status[REJECTED],
        unread=by_status[UNREAD],
        warnings=_collect_warnings(result, selftest, by_status[REJECTED]),
    )


def require_read(study: Study, found: ReleaseAssessment) -> None:
    """Refuse a study that is not read.

    Raises
    ------
    BadInput
        Volumes are unread under the policy, or the files that pass are not those that were read.
    """
    if found.unread:
        raise BadInput(
            f"{len(found.unread)} of {len(found.rows)} volumes are unread under the policy "
            f"{_describe_policy(study.config.release, found.policy)}: "
            f"{abbreviate_names(found.unread)}.",
            Hint(HintKind.READ, str(study.folder)),
        )
    require_unmodified_files(study, {s: found.rows[s] for s in found.passed}, found.by_reader)


def resolve_policy(
    config: StudyConfig, result: ScanResult, selftest: SelfTest | None, n_readers: int
) -> ReleasePolicy:
    """Return the study's policy as it is applied to a scan.

    A detector without power clears nothing: then no verdict passes without a reader. Where every
    reader reads every sample, all who decided anything must have read what is to be read.
    """
    from napari_memscan.report.policy import ReleasePolicy

    return ReleasePolicy(
        rule=() if explain_missing_power(result, selftest) else config.release.rule,
        readers=config.release.readers,
        wanted=max(1, n_readers) if config.review.readers == "each" else 1,
    )


def explain_missing_power(result: ScanResult, selftest: SelfTest | None) -> str:
    """Return why the detector could not have called anything; empty where it could."""
    from napari_memscan.report.conclusion import explain_no_power

    told = [explain_no_power(result)]
    if selftest is not None and selftest.without_power:
        told.append(f"the self-test had only {selftest.n_null} validation subjects")
    c = result.calibration
    if result.rule == "conformal" and c is not None and c.least_discoveries > result.n_synthetic:
        # Nothing was that near here, so the scan had no reason to complain.
        told.append(
            f"with {c.n_null} validation subjects {c.least_discoveries} volumes nearer than all of "
            f"them would be needed to call any, and there are {result.n_synthetic}"
        )
    return next(filter(None, told), "")


def _describe_policy(config: ReleaseConfig, policy: ReleasePolicy) -> str:
    text = f"readers = '{policy.readers}'"
    if not policy.rule and config.rule:
        text += " and without power of the detector, which clears nothing then"
    if policy.wanted > 1:
        text += f", each by {policy.wanted} readers"
    return text


def _load_decisions(study: Study, expect: str) -> tuple[CurrentDecisions, int, str]:
    """Return what stands in the store, once its chain is found intact."""
    from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER
    from napari_memscan.review.audit import audit_store

    where = study.config.review.store
    try:
        # A reader whose decision is on its way to the disk must not be waited for. On a server
        # nobody waits, and whose database it is must be looked at first.
        store = study.store(read_only="://" not in where and "${" not in where)
    except BadInput:
        store = study.store()  # Nothing is decided yet.
    try:
        # Read first: what is recorded between the two readings is in the audit and not in use.
        standing = store.standing()
        found = audit_store(store, expect, study.folder / BLIND_FOLDER)
    finally:
        store.close()
    if not found.intact:
        raise JobFailed(
            f"{found.where}: the chain of decisions is broken ({found.faults[0]}; "
            f"{len(found.faults)} faults).",
            Hint(HintKind.AUDIT, str(study.folder)),
        )
    last = standing.events[-1] if standing.events else None
    return standing, len(standing.events), last.hash if last is not None else found.head


def _collect_warnings(
    result: ScanResult, selftest: SelfTest | None, rejected: Mapping[str, str]
) -> tuple[str, ...]:
    from napari_memscan.report.conclusion import is_selftest_stale
    from napari_memscan.report.policy import READERS_DISAGREE

    warnings = []
    why = explain_missing_power(result, selftest)
    if why:
        warnings.append(f"the detector had no power, nothing passed without a reader: {why}")
    if selftest is None:
        warnings.append(
            "no self-test: what the detector misses is not known, and the release says so"
        )
    elif is_selftest_stale(result, selftest):
        warnings.append("the self-test is out of date, and the release says so")
    if result.calibration is not None and result.calibration.assumption_shifted:
        warnings.append("the assumption test failed, and the release says so")
    disagreed = [sample for sample, reason in rejected.items() if reason == READERS_DISAGREE]
    if disagreed:
        warnings.append(f"readers disagree, so these were left out: {abbreviate_names(disagreed)}")
    return tuple(warnings)
