"""The window shows what the detector finds before anything is scanned, and of which detector."""

from __future__ import annotations

from dataclasses import replace

from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
from napari_memscan.study import Study
from napari_memscan.typing import Verdict
from napari_memscan.widgets.generate.selftest_controller import SelfTestController
from napari_memscan.widgets.generate.selftest_row import SelfTestRow
from napari_memscan.widgets.study.trust_dialog import SessionTrust


def test_a_self_test_needs_no_scan_and_another_detector_shows(qtbot, verified_study):
    row = SelfTestRow()
    qtbot.addWidget(row)
    controller = SelfTestController(row, None, SessionTrust())
    study = Study.open(verified_study)
    result = study.result()
    assert result.calibration.detector_hash
    controller.show(study, None)
    assert "none yet" in row.message.text
    assert not row.button.isHidden()
    verdicts = dict.fromkeys(Verdict, 0) | {"copy": 9, "novel": 1}
    test = SelfTest(
        (PerturbationResult("flip", Verdict.COPY, 10, 10, 10, 10, verdicts, above_all=7),),
        0.05,
        3,
        8,
        6,
        None,
        None,
        "pixels",
        "search",
        1,
        detector_hash=result.calibration.detector_hash,
    )
    test.save(study.scan_dir)
    controller.show(study, None)
    assert "finds 0.90" in row.message.text
    assert row.button.isHidden()
    assert "The scan asks more" not in row.message.toolTip()
    controller.show(study, result)
    assert "The scan asks more than the self-test" in row.message.toolTip()
    assert "7 of 10" in row.message.toolTip()
    # The same name and the same search, and another embedder behind them.
    replace(test, detector_hash="another").save(study.scan_dir)
    controller.show(study, result)
    assert "another detector" in row.message.text
    assert not row.button.isHidden()
