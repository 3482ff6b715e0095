"""`memscan release` and `memscan verify`: from a study that is read to a folder to hand out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.cli import app


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def study(make_study, tmp_path):
    """Three samples, two of them read; with so few volumes the detector has no power."""
    study = make_study(tmp_path / "study")
    jobs.run_job(jobs.generate_volumes(study, 3, batch=1, precision="float32", memory="contiguous"))
    jobs.run_job(jobs.scan_study(study))
    store = study.store()
    store.record("s000000", "not a copy", "Annabel")
    store.record("s000001", "copy", "Annabel")
    store.close()
    return study


def test_from_a_study_to_a_folder_that_is_verified_without_it(study, tmp_path):
    out = tmp_path / "out"
    refused = memscan("release", study.folder, out, code=2)
    assert "no licence is stated" in refused.stderr
    release = ("release", study.folder, out, "--license", "CC-BY-4.0")
    refused = memscan(*release, code=2)
    assert "1 of 3 volumes are unread" in refused.stderr
    assert "s000002" in refused.stderr
    assert not out.exists()

    store = study.store()
    store.record("s000002", "not a copy", "Annabel")
    store.close()
    done = memscan(*release)
    assert f"{out}: 2 of 3 volumes released, 1 rejected" in done.stdout
    assert "careful: the detector had no power" in done.stderr
    assert "[release.answers]" in done.stderr
    fingerprint = done.stdout.split()[-1]
    assert f"memscan verify {out} --expect {fingerprint[:12]}" in done.stderr
    again = json.loads(memscan(*release, "--json").stdout)
    assert again["fingerprint"] == fingerprint
    assert again["selection"]["rejected"] == {"a reader decided copy": 1}

    moved = shutil.move(out, tmp_path / "elsewhere")
    shutil.rmtree(study.folder)
    text = memscan("verify", moved, "--expect", fingerprint[:12]).stdout
    assert "intact" in text
    assert "the detector had no power" in text
    assert f"fingerprint  {fingerprint}" in text


def test_what_is_broken_is_named_with_exit_code_1(study, tmp_path):
    out = tmp_path / "out"
    study.update(release={"license": "CC0-1.0", "readers": "called", "n": 1})
    store = study.store()
    store.record("s000002", "not a copy", "Annabel")
    store.close()
    assert "1 passed and not wanted" in memscan("release", study.folder, out).stdout
    assert memscan("release", study.folder, out, "-n", 2).exit_code == 0
    assert "2 of 3 volumes pass, 3 are wanted" in " ".join(
        memscan("release", study.folder, out, "-n", 3, code=2).stderr.split()
    )
    (out / "volume-0001.nii.gz").unlink()
    (out / "LICENSE").write_text("Mine.")
    broken = memscan("verify", out, code=1)
    assert "broken       LICENSE: changed" in broken.stdout
    assert "broken       volume-0001.nii.gz: missing" in broken.stdout
    found = json.loads(memscan("verify", out, "--json", code=1).stdout)
    assert found["faults"] == ["LICENSE: changed", "volume-0001.nii.gz: missing"]
    assert "no release there" in memscan("verify", tmp_path, code=2).stderr
    assert "hexadecimal" in memscan("verify", out, "--expect", "zz", code=2).stderr


def test_verifying_needs_no_network_and_nothing_heavy(tmp_path):
    code = (
        "import sys\nimport napari_memscan.report.verification\n"
        "print(*[n for n in ('torch', 'monai', 'napari', 'pandas', 'matplotlib') "
        "if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
