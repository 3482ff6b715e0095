"""Volumes are drawn with guidance where it is asked for, and until enough of them pass."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig
from napari_memscan.detection.planting.selftest import PerturbationResult, SelfTest
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import BadInput
from napari_memscan.generators.guidance import Guidance
from napari_memscan.generators.sample import SamplingSettings
from napari_memscan.jobs.replacement.until_clean import estimate_missed
from napari_memscan.typing import Verdict

WAY = {"batch": 1, "precision": "float32", "memory": "contiguous"}


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study", verification={"enabled": False})


@pytest.fixture
def calls(monkeypatch):
    """Sample to verdict, whatever it looks like; all others are novel."""
    said: dict[str, str] = {}
    load = ScanResult.load.__func__

    def loaded(cls, folder):
        result = load(cls, folder)
        samples = tuple(
            replace(s, verdict=Verdict(said.get(s.name, "novel"))) for s in result.samples
        )
        return replace(result, samples=samples)

    monkeypatch.setattr(ScanResult, "load", classmethod(loaded))
    return said


def written(study):
    return {
        path.name: path.read_bytes()
        for path in study.synthetic_dir.iterdir()
        if not path.name.startswith(".")
    }


def test_guided_volumes_are_written_as_such_and_stand_beside_the_others(study, monkeypatch):
    # Every volume is too near: this model has seen nobody.
    monkeypatch.setattr(Guidance, "threshold", lambda self, level: -1.0)
    assert jobs.run_job(jobs.generate_volumes(study, 2, **WAY)) == ["s000000", "s000001"]
    news = list(jobs.generate_volumes(study, 2, guidance=1.5))
    assert sum("encoded" in getattr(n, "what", "") for n in news) == 8 + 6
    rows = study.samples()
    assert [row.seed for row in rows] == ["1", "2", "1", "2"]
    settings = [SamplingSettings.parse(row.settings) for row in rows]
    assert settings[2].guidance.startswith("1.5:")
    assert replace(settings[2], guidance="") == settings[0]
    assert (study.synthetic_dir / "s000002.nii.gz").read_bytes() != (
        study.synthetic_dir / "s000000.nii.gz"
    ).read_bytes()
    # Made already, in both ways; and the next ones are not guided unasked.
    monkeypatch.setattr("napari_memscan.generators.ldm.LDMGenerator.encode_volume", None)
    assert jobs.run_job(jobs.generate_volumes(study, 2, guidance=1.5)) == []
    assert jobs.run_job(jobs.generate_volumes(study, 3)) == ["s000004"]
    assert SamplingSettings.parse(study.samples()[4].settings) == settings[0]


def test_two_processes_encode_once_and_give_the_bytes_of_one(study, make_study, tmp_path):
    jobs.run_job(jobs.generate_volumes(study, 3, guidance=1.5, **WAY, threads=1))
    other = make_study(tmp_path / "other")
    script = tmp_path / "memscan.py"
    script.write_text("from napari_memscan.cli import main\nmain()\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += ["2", str(script), "generate", str(other.folder), "-n", "3", "--guidance", "1.5"]
    command += ["--batch", "1", "--precision", "float32", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "3 new volumes, 3 in all" in done.stdout
    memory = SamplingSettings.parse(other.samples()[0].settings).memory
    if memory == WAY["memory"]:  # Chosen by asking the machine.
        assert written(other) == written(study)
    assert [row.seed for row in other.samples()] == ["1", "2", "3"]
    assert len({row.settings for row in other.samples()}) == 1
    assert SamplingSettings.parse(other.samples()[0].settings).guidance.startswith("1.5:")


def test_guidance_of_zero_is_none(study):
    jobs.run_job(jobs.generate_volumes(study, 1, **WAY))
    assert jobs.run_job(jobs.generate_volumes(study, 1, guidance=0.0)) == []
    assert "guidance" not in study.samples()[0].settings


def test_guidance_is_refused_where_nothing_is_drawn(study, tmp_path):
    jobs.run_job(jobs.generate_volumes(study, 1))
    with pytest.raises(BadInput, match="from 0 to 100"):
        jobs.run_job(jobs.generate_volumes(study, 1, guidance=-1.0))
    study.update(generator=GeneratorConfig(kind="folder", path=str(study.synthetic_dir)))
    with pytest.raises(BadInput, match="nothing can guide"):
        jobs.run_job(jobs.generate_volumes(study, 1, guidance=1.0))
    with pytest.raises(BadInput, match="no more can be drawn"):
        jobs.run_job(jobs.generate_until_clean(study, 2))


def test_it_draws_until_enough_pass(study, calls):
    calls |= {"s000000": "copy", "s000002": "near-duplicate", "s000004": "undecided"}
    found = jobs.run_job(jobs.generate_until_clean(study, 4, **WAY))
    assert found.enough
    assert found.passed == ("s000001", "s000003", "s000005", "s000006")
    assert (found.called, found.undecided) == (("s000000", "s000002"), ("s000004",))
    assert (found.q, found.missed) == (0.1, None)
    assert "4 of 7 volumes passed, 4 wanted; 2 called copy or near-duplicate" in str(found)
    assert "is not known: measure the detector" in str(found)
    before = written(study)
    assert jobs.run_job(jobs.generate_until_clean(study, 4, **WAY)) == found
    assert written(study) == before


def test_the_studys_rule_says_what_passes(study, calls):
    calls |= {"s000000": "undecided"}
    study.update(release={"rule": ("novel", "undecided")})
    assert jobs.run_job(jobs.generate_until_clean(study, 2, **WAY)).passed == ("s000000", "s000001")


def test_it_gives_up(study, calls):
    calls |= {f"s{i:06d}": "copy" for i in range(9)}
    found = jobs.run_job(jobs.generate_until_clean(study, 2, most=5, **WAY))
    assert not found.enough
    assert len(found.called) == 5


def test_stopped_anywhere_it_goes_on_with_the_same_bytes(study, calls, make_study, tmp_path):
    calls |= {"s000000": "copy", "s000001": "copy", "s000003": "copy"}
    whole = jobs.run_job(jobs.generate_until_clean(study, 3, guidance=1.0, **WAY))
    other = make_study(tmp_path / "other", verification={"enabled": False})
    found, last = None, 10
    while found is None:
        last += 17
        job = jobs.generate_until_clean(other, 3, guidance=1.0, **WAY)
        try:
            for _ in range(last):
                next(job)
        except StopIteration as end:
            found = end.value
        job.close()
    assert last > 50
    assert found == whole
    assert written(other) == written(study)


def test_a_round_that_was_begun_is_finished_before_it_is_scanned(study, calls):
    calls |= {"s000000": "copy"}
    jobs.run_job(
        jobs.generate_volumes(study, 9, **WAY)
    )  # Eight wanted, two a round: ten is the next.
    found = jobs.run_job(jobs.generate_until_clean(study, 8, **WAY))
    assert (len(found.passed), len(study.samples())) == (9, 10)


def test_replaced_samples_are_not_counted_and_new_ones_must_be_scanned(study, calls):
    with pytest.raises(BadInput, match="not scanned yet"):
        jobs.screen_samples(study, 1)
    calls |= {"s000000": "copy"}
    jobs.run_job(jobs.generate_volumes(study, 2, **WAY))
    jobs.run_job(jobs.scan_study(study))
    jobs.run_job(jobs.regenerate_sample(study, "s000000"))
    assert jobs.screen_samples(study, 2).passed == ("s000001", "s000002")
    assert jobs.screen_samples(study, 2).called == ()
    jobs.run_job(jobs.generate_volumes(study, 3))
    with pytest.raises(BadInput, match="s000003: drawn after the last scan"):
        jobs.screen_samples(study, 2)


def test_a_self_test_of_the_same_detector_says_what_may_have_passed(study):
    verdicts = {"copy": 8, "near-duplicate": 1, "novel": 1, "undecided": 0}
    planted = PerturbationResult("unchanged", Verdict.COPY, 10, 10, 10, 10, verdicts)
    test = SelfTest(
        (planted,), 0.05, 3, 8, 6, None, None, "embedder", "search", 1, detector_hash="hash"
    )
    scanned = SimpleNamespace(calibration=SimpleNamespace(detector_hash="hash"))
    assert estimate_missed(study.scan_dir, scanned, 9, 20) is None
    test.save(study.scan_dir)
    assert estimate_missed(study.scan_dir, scanned, 9, 20).expected == pytest.approx(1.0)
    other = SimpleNamespace(calibration=SimpleNamespace(detector_hash="other"))
    assert estimate_missed(study.scan_dir, other, 9, 20) is None
    assert estimate_missed(study.scan_dir, SimpleNamespace(calibration=None), 9, 20) is None


def test_the_command_draws_until_enough_pass_and_fails_where_they_do_not(study, calls):
    from typer.testing import CliRunner

    runner, folder = CliRunner(), str(study.folder)
    result = runner.invoke(app, ["generate", folder, "-n", "1", "--guidance", "2"])
    assert result.exit_code == 0, result.output
    assert "guidance=2:" in study.samples()[0].settings
    calls |= {"s000001": "copy"}
    result = runner.invoke(app, ["generate", folder, "--until-clean", "2"])
    assert result.exit_code == 0, result.output
    assert "2 of 3 volumes passed, 2 wanted" in result.stdout
    calls |= {f"s{i:06d}": "copy" for i in range(9)}
    result = runner.invoke(app, ["generate", folder, "--until-clean", "2", "--at-most", "3"])
    assert result.exit_code == 1
    assert "--at-most; away from training: --guidance 2" in result.stderr
    result = runner.invoke(app, ["generate", folder, "--at-most", "3"])
    assert result.exit_code == 2
