"""A scan of folders, by Python or by the command, and one of a study are the same, to the byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import napari_memscan
from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig, RuleConfig, StudyConfig, VerificationConfig
from napari_memscan.demo.phantoms import draw_phantom
from napari_memscan.study import Study
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.importers import import_csv
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing

CHAIN = {"retrieved": 3, "proposed": 2, "verified": 1, "planted": 1}
SHAPE = (12, 12, 12)
SPLITS = ("training", "validation", "synthetic")


RECIPE = Preprocessing(shape=SHAPE, intensity=Percentile())


@dataclass(frozen=True)
class Case:
    """What is scanned, and how."""

    sizes: tuple[int, int, int] = (4, 3, 2)
    subjects: str = "each"
    axes: str = ""
    spacing: str = ""
    embedder: str = "low-resolution"
    verify: bool = True
    rule: str = "conformal"
    recipe: Preprocessing = RECIPE
    seed: int = 1


CASES = {
    "as it comes": Case(),
    "more of all, another seed": Case(sizes=(6, 4, 3), seed=7),
    "two scans of a subject": Case(subjects="pairs"),
    "nobody knows whose": Case(subjects="none"),
    "axes": Case(axes="ZYX"),
    "spacing": Case(spacing="1 1 2"),
    "axes and resampling": Case(
        axes="YXZ",
        spacing="1 2 1",
        recipe=Preprocessing(shape=SHAPE, spacing=(1.0, 1.5, 1.0), intensity=MinMax()),
    ),
    "autoencoder": Case(
        embedder="ldm", recipe=Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    ),
    "one validation volume": Case(sizes=(3, 1, 2)),
    "the paper's rule": Case(rule="dar2024", verify=False),
}


def write_cohort(folder, case):
    """Write volumes and their table; return the table."""
    lines = ["path,split,subject_id,axes,spacing"]
    for j, (split, n) in enumerate(zip(SPLITS, case.sizes, strict=True)):
        for i in range(n):
            # The first synthetic volume is a copy of the second training volume.
            of = (0, 1) if (split, i) == ("synthetic", 0) else (j, i)
            data = draw_phantom(of, SHAPE).data + (split == "synthetic")
            path = folder / split / f"{i}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, data.astype(np.float32))
            who = {"each": f"{split}{i}", "pairs": f"{split}{i // 2}", "none": ""}[case.subjects]
            real = split != "synthetic"
            lines.append(f"{path},{split},{who if real else ''},{case.axes},{case.spacing}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def make_study(folder, table, case, embedder):
    config = StudyConfig(
        name="parity",
        embedder=embedder,
        preprocessing=case.recipe,
        rule=RuleConfig(name=case.rule),
        verification=VerificationConfig(**CHAIN, enabled=case.verify, workers=1),
        seed=case.seed,
    )
    return Study.create(folder, config, import_csv(table))


def scan_table(table, case, embedder, **options):
    return napari_memscan.scan(
        table,
        table,
        table,
        embedder=embedder,
        preprocessing=case.recipe,
        rule=case.rule,
        verify=case.verify,
        seed=case.seed,
        **CHAIN,
        **options,
    )


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def embedder_of(tiny_ldm):
    return lambda case: str(tiny_ldm) if case.embedder == "ldm" else case.embedder


@pytest.mark.parametrize("name", CASES)
def test_a_scan_of_folders_and_of_a_study_agree_to_the_byte(name, tmp_path, embedder_of):
    case = CASES[name]
    table, embedder = write_cohort(tmp_path / "volumes", case), embedder_of(case)
    study = make_study(tmp_path / "study", table, case, embedder)
    result = jobs.run_job(jobs.scan_study(study))
    alone = scan_table(table, case, embedder)
    assert alone.to_dict() == result.to_dict()
    assert result.samples[0].neighbour.endswith("1.npy")
    # With a cache, from nothing and again, and by several processes.
    cache = ArrayCache(tmp_path / "cache")
    for options in ({"cache": cache}, {"cache": cache, "workers": 2 if name == "axes" else 1}):
        assert scan_table(table, case, embedder, **options).to_json() == alone.to_json()


@pytest.mark.parametrize("split", ["training", "validation", "synthetic"])
def test_one_volume_more_gives_what_a_scan_from_nothing_gives(split, tmp_path):
    case = Case()
    table = write_cohort(tmp_path / "volumes", case)
    study = make_study(tmp_path / "study", table, case, case.embedder)
    jobs.run_job(jobs.scan_study(study))
    new = tmp_path / "volumes" / split / "9.npy"
    np.save(new, draw_phantom((9, 9), SHAPE).data)
    who = "" if split == "synthetic" else "new"
    table.write_text(f"{table.read_text()}{new},{split},{who},,\n")
    import_csv(table).save(study.cohort_path)
    study = Study.open(study.folder)
    again = jobs.run_job(jobs.scan_study(study))
    assert scan_table(table, case, case.embedder).to_dict() == again.to_dict()


def test_the_command_without_a_study_gives_the_numbers_of_python(tmp_path, capsys):
    case = Case(subjects="none")
    folder = write_cohort(tmp_path / "volumes", case).parent
    splits = [folder / split for split in ("training", "validation", "synthetic")]
    options = [f"--{path.name}={path}" for path in splits]
    app(["scan", *options, "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert printed == napari_memscan.scan(*splits).to_dict()


KILLED = """
import os, signal, sys
from napari_memscan import jobs
from napari_memscan.study import Study
for n, news in enumerate(jobs.scan_study(Study.open(sys.argv[1]))):
    if news.what.startswith("compared"):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
"""


def test_a_scan_killed_while_it_compares_goes_on_to_the_same_bytes(tmp_path):
    case = Case()
    table = write_cohort(tmp_path / "volumes", case)
    whole = make_study(tmp_path / "whole", table, case, case.embedder)
    jobs.run_job(jobs.scan_study(whole))
    study = make_study(tmp_path / "study", table, case, case.embedder)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(study.folder)],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert run.returncode == -getattr(signal, "SIGKILL", signal.SIGTERM), run.stderr
    assert not study.scan_dir.exists()
    # Stopped once more, by whoever does not ask on.
    job = jobs.scan_study(study)
    for news in job:
        if news.what.startswith("compared"):
            break
    job.close()
    jobs.run_job(jobs.scan_study(study))
    assert files_of(study.scan_dir) == files_of(whole.scan_dir)


def test_a_folder_as_generator_is_scanned_like_that_folder(tmp_path):
    case = Case()
    table = write_cohort(tmp_path / "volumes", case)
    folder = table.parent / "synthetic"
    cohort = import_csv(table)
    config = StudyConfig(
        name="folder",
        preprocessing=case.recipe,
        generator=GeneratorConfig(kind="folder", path=str(folder)),
        verification=VerificationConfig(**CHAIN, workers=1),
    )
    real = type(cohort).from_rows(row for row in cohort.rows() if row.split != "synthetic")
    study = Study.create(tmp_path / "study", config, real)
    result = jobs.run_job(jobs.scan_study(study))
    alone = napari_memscan.scan(
        table, table, folder, preprocessing=case.recipe, seed=config.seed, **CHAIN
    )
    assert alone.to_dict() == result.to_dict()
