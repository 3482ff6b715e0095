"""`memscan evidence`: what it prints, what it keeps, what it refuses."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig, VerificationConfig
from napari_memscan.detection.evidence import DEFAULT_METRICS, METRICS
from napari_memscan.errors import BadInput


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{result.exception!r}"
    return result


@pytest.fixture
def study(make_study, phantoms, tmp_path):
    """A study with made-elsewhere volumes: five unseen phantoms, and two copies of patients."""
    made = tmp_path / "made"
    made.mkdir()
    sources = [row.path for row in (*phantoms.rows("unseen"), *phantoms.rows("training")[:2])]
    for i, path in enumerate(sources):
        shutil.copy(path, made / f"m{i}.nii.gz")
    return make_study(
        tmp_path / "study",
        generator=GeneratorConfig(kind="folder", path=str(made)),
        verification=VerificationConfig(enabled=False),  # Nothing here rests on registration.
    )


def test_prints_value_interval_direction_and_warning_and_keeps_the_same_bytes(study):
    refused = memscan("evidence", study.folder, code=2)
    assert "not scanned yet" in refused.stderr
    jobs.run_job(jobs.scan_study(study))
    first = memscan("evidence", study.folder)
    kept = study.scan_dir / "evidence.json"
    saved = kept.read_bytes()
    for key in DEFAULT_METRICS:
        assert f"\n{key} " in "\n" + first.stdout
    text = " ".join(first.stdout.split())
    assert "95 % interval" in text
    assert "larger = more copying" in text
    assert "Careful: It grows with the number of synthetic volumes" in text
    assert "not computed" in text  # C_T: too few volumes.
    assert f"{len(METRICS) - len(DEFAULT_METRICS)} more: memscan evidence" in first.stderr
    value = json.loads(saved)
    found = {one["key"]: one for one in value["metrics"]}
    paper = next(rule for rule in study.result().rules if rule.name == "dar2024")
    assert paper.n_copies >= 2
    assert found["n_copies"]["values"]["copies"] == paper.n_copies
    assert found["n_copies"]["values"]["threshold"] == paper.threshold
    assert found["n_mem"]["value"] == paper.mem_share
    memorised = found["n_mem"]["values"]["memorised"]
    assert f"N_mem of 7 synthetic volumes {memorised}" in text
    assert found["c_t"]["value"] is None
    assert memscan("evidence", study.folder).stdout == first.stdout
    assert kept.read_bytes() == saved


def test_all_as_json_and_a_choice(study):
    jobs.run_job(jobs.scan_study(study))
    value = json.loads(memscan("evidence", study.folder, "--all", "--json").stdout)
    found = {one["key"]: one for one in value["metrics"]}
    assert list(found) == [metric.key for metric in METRICS]
    assert found["ncc"]["values"]["largest"] == pytest.approx(1)
    assert 0 < found["ms_ssim"]["value"] < 1
    chosen = memscan("evidence", study.folder, "-m", "ncc", "-m", "dcr").stdout
    assert [line.split()[0] for line in chosen.splitlines() if line[:1].strip()] == ["ncc", "dcr"]


def test_wrong_requests_are_refused(study):
    jobs.run_job(jobs.scan_study(study))
    assert "fid: no such metric. There are n_copies" in memscan(
        "evidence", study.folder, "-m", "fid", code=2
    ).stderr.replace("\n", " ")
    assert (
        "give one of them" in memscan("evidence", study.folder, "--all", "-m", "x", code=2).stderr
    )
    study.samples_path.write_text(
        "".join(study.samples_path.read_text().splitlines(keepends=True)[:-1])
    )
    with pytest.raises(BadInput, match="samples of the last scan are not in this table"):
        jobs.run_job(jobs.evaluate_metrics(study))
