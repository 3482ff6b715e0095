"""A scan as it may be shown outside: no training volume has a name, no reader wrote a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_memscan.report.scrubbing import WITHHELD, Scrubber
from napari_memscan.review.events import ReadingEvent

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.report.supplementary import SupplementaryResults


def deidentify_scan(result: ScanResult, names: Mapping[str, str], scrub: Scrubber) -> ScanResult:
    """Return a scan without paths, names of training volumes and poses; all numbers stay.

    Parameters
    ----------
    result : ScanResult
        As the study keeps it.
    names : mapping of str to str
        Sample to what it is called outside.
    scrub : Scrubber
        For texts that quote what an importer found.
    """
    calibration = result.calibration
    if calibration is not None:
        calibration = replace(
            calibration,
            assumption=scrub.text(calibration.assumption),
            power_note=scrub.text(calibration.power_note),
            limit_reasons=scrub.value(calibration.limit_reasons),
        )
    return replace(
        result,
        embedder=scrub.text(result.embedder),
        samples=tuple(
            replace(
                sample,
                name=names[sample.name],
                neighbour=WITHHELD,
                reason=scrub.text(sample.reason),
                neighbours=tuple(
                    replace(near, name=WITHHELD, transform=None) for near in sample.neighbours
                ),
            )
            for sample in result.samples
        ),
        rules=tuple(
            replace(rule, mem_note=scrub.text(rule.mem_note), note=scrub.text(rule.note))
            for rule in result.rules
        ),
        calibration=calibration,
        warnings=scrub.value(result.warnings),
    )


def deidentify_selftest(selftest: SelfTest | None, scrub: Scrubber) -> SelfTest | None:
    """Return a self-test whose texts name nobody."""
    if selftest is None:
        return None
    return replace(
        selftest, embedder=scrub.text(selftest.embedder), notes=scrub.value(selftest.notes)
    )


def deidentify_supplementary(
    attached: SupplementaryResults, names: Mapping[str, str], scrub: Scrubber, named: bool
) -> SupplementaryResults:
    """Return what stands beside a scan without names, and without what each volume scored.

    Parameters
    ----------
    attached : SupplementaryResults
        With the readers' names that are to be seen outside.
    names : mapping of str to str
        Sample to what it is called outside.
    scrub : Scrubber
    named : bool
        Readers stand there with their names, so that their pace may, too.
    """
    evidence, membership, readers = attached.evidence, attached.membership, attached.readers
    if evidence is not None:
        evidence = replace(
            evidence,
            embedder=scrub.text(evidence.embedder),
            metrics=tuple(replace(m, note=scrub.text(m.note)) for m in evidence.metrics),
        )
    if membership is not None:
        # Whether a person was in the training data is what these scores of volumes tell.
        membership = replace(
            membership,
            attacks=tuple(replace(a, training=(), validation=()) for a in membership.attacks),
            control=replace(membership.control, training=(), validation=()),
            training_names=(),
            validation_names=(),
            condition=scrub.text(membership.condition),
            warnings=scrub.value(membership.warnings),
        )
    if readers is not None and not named:
        readers = replace(
            readers, readers=tuple(replace(reader, seconds=None) for reader in readers.readers)
        )
    return replace(
        attached,
        selftest=deidentify_selftest(attached.selftest, scrub),
        evidence=evidence,
        membership=membership,
        readers=readers,
        disagreed=frozenset(names[sample] for sample in attached.disagreed),
    )


def deidentify_decision(decision: ReadingEvent, reader: str, named: bool) -> ReadingEvent:
    """Return a decision without note and evidence; without its time, too, unless readers are named.

    Parameters
    ----------
    decision : ReadingEvent
        As recorded.
    reader : str
        What the reader is called outside.
    named : bool
        Readers stand there with their names, so that times may, too.
    """
    return replace(
        decision, reader=reader, note="", evidence={}, time=decision.time if named else ""
    )
