"""Jobs report progress, can be stopped or killed at any moment, and then give the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.config import VerificationConfig
from napari_memscan.detection.results.scan_result import hash_references
from napari_memscan.detection.scan import scan as scan_folders
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.generators.sample import DenoisingStep
from napari_memscan.jobs import Progress
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.volumes.cohort import Cohort, CohortRow


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study")


@pytest.fixture
def plain_study(make_study, tmp_path):
    """A study that compares embeddings only."""
    return make_study(tmp_path / "plain", verification=VerificationConfig(enabled=False))


def contents(folder):
    """Return name to bytes of all whole files below a folder; hidden ones are leftovers."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


ONE = {"batch": 1, "precision": "float32"}


def test_generate_reports_each_step_and_each_volume(study):
    news = list(jobs.generate_volumes(study, 2, **ONE))
    assert news == [
        *(DenoisingStep(0, step, 3) for step in (1, 2, 3)),
        Progress(1, 2, "generated s000000", sample="s000000"),
        *(DenoisingStep(1, step, 3) for step in (1, 2, 3)),
        Progress(2, 2, "generated s000001", sample="s000001"),
    ]
    rows = study.samples()
    assert [(r.sample, r.seed, r.sampler, r.steps, r.parent) for r in rows] == [
        ("s000000", "1", "ddim", "3", ""),
        ("s000001", "2", "ddim", "3", ""),
    ]
    generator = study.generator()
    assert {r.recipe_hash for r in rows} == {generator.recipe_hash}
    assert {r.checkpoint_hash for r in rows} == {generator.checkpoint_hash}
    first, second = (study.volume(study.sample_path(r)) for r in rows)
    assert first.spacing == pytest.approx((0.6, 0.6, 0.6))
    assert not np.array_equal(first.data, second.data)


def test_a_volume_is_on_disk_before_its_progress_is_reported(study):
    for news in jobs.generate_volumes(study, 2):
        if isinstance(news, Progress):
            assert len(Study.open(study.folder).samples()) == news.done
            assert study.sample_path(study.samples()[-1]).exists()


def test_the_same_seed_gives_the_same_bytes_whatever_stands_beside_it(study, make_study, tmp_path):
    jobs.run_job(jobs.generate_volumes(study, 3, seed=10))
    other = make_study(tmp_path / "other", seed=12)
    # Beside itself in a batch that it fills alone, and first instead of last.
    jobs.run_job(jobs.generate_volumes(other, 1))
    one = study.sample_path(study.samples()[2]).read_bytes()
    assert other.sample_path(other.samples()[0]).read_bytes() == one


def test_more_volumes_are_added_and_none_is_made_twice(study):
    assert jobs.run_job(jobs.generate_volumes(study, 2)) == ["s000000", "s000001"]
    before = contents(study.synthetic_dir)
    news = list(jobs.generate_volumes(study, 3))
    assert news[0] == DenoisingStep(2, 1, 3)
    assert news[-1] == Progress(3, 3, "generated s000002", sample="s000002")
    assert jobs.run_job(jobs.generate_volumes(study, 3)) == []
    after = contents(study.synthetic_dir)
    assert all(after[name] == before[name] for name in before if name != "samples.csv")
    # Other settings give other volumes of the same seed.
    assert jobs.run_job(jobs.generate_volumes(study, 1, steps=2)) == ["s000003"]
    assert jobs.run_job(jobs.generate_volumes(study, 1, sampler="ddpm")) == ["s000004"]
    assert [(r.seed, r.sampler, r.steps) for r in study.samples()[3:]] == [
        ("1", "ddim", "2"),
        ("1", "ddpm", "3"),
    ]


def test_a_study_goes_on_with_the_settings_it_was_begun_with(study):
    jobs.run_job(
        jobs.generate_volumes(study, 1, batch=3, decode="window:4x4x4:0.5", precision="float32")
    )
    begun = study.samples()[0].settings
    assert begun.startswith("batch=3 precision=float32 ")
    assert begun.endswith("decode=window:4x4x4:0.5")
    told = []
    assert jobs.run_job(jobs.generate_volumes(study, 2, tell=told.append)) == ["s000001"]
    assert told == [f"settings: {begun}"]
    assert str(jobs.run_job(jobs.regenerate_sample(study, "s000000"))) == "s000002"
    assert {row.settings for row in study.samples()} == {begun}
    # Others give other bytes: the seed is made again.
    assert jobs.run_job(jobs.generate_volumes(study, 1, decode="whole")) == ["s000003"]
    assert study.samples()[3].settings == begun.replace("window:4x4x4:0.5", "whole")
    one, other = (study.volume(study.sample_path(study.samples()[i])).data for i in (0, 3))
    assert not np.array_equal(one, other)


def test_a_table_without_settings_is_read_and_gone_on_with(study):
    fixed = {"batch": 1, "precision": "float32", "memory": "contiguous", "decode": "whole"}
    jobs.run_job(jobs.generate_volumes(study, 1, **fixed))
    bytes_now = contents(study.synthetic_dir)["s000000.nii.gz"]
    table = study.samples_path.read_text().splitlines()
    study.samples_path.write_text("".join(line.rsplit(",", 1)[0] + "\n" for line in table))
    assert study.samples()[0].settings == ""
    assert jobs.run_job(jobs.generate_volumes(study, 2)) == ["s000001"]
    assert study.samples()[1].settings == (
        "batch=1 precision=float32 memory=contiguous threads=0 decode=whole"
    )
    assert contents(study.synthetic_dir)["s000000.nii.gz"] == bytes_now
    assert jobs.run_job(jobs.generate_volumes(study, 2)) == []
    study.samples_path.write_text(study.samples_path.read_text().replace("batch=1", "batch=x"))
    with pytest.raises(BadInput, match="settings 'batch=x"):
        jobs.run_job(jobs.generate_volumes(study, 3))


def test_gaps_in_the_names_are_filled_in_the_order_of_the_seeds(study, make_study, tmp_path):
    jobs.run_job(jobs.generate_volumes(study, 5))
    whole = contents(study.synthetic_dir)
    # As a killed run of several processes leaves it.
    lines = study.samples_path.read_text().splitlines(keepends=True)
    study.samples_path.write_text("".join(lines[i] for i in (0, 1, 4)))
    assert jobs.run_job(jobs.generate_volumes(study, 5)) == ["s000001", "s000002", "s000004"]
    assert contents(study.synthetic_dir) == whole


def test_embedding_ahead_leaves_nothing_for_the_scan(
    plain_study, make_study, tmp_path, monkeypatch
):
    study = plain_study
    jobs.run_job(jobs.generate_volumes(study, 2))
    other = make_study(tmp_path / "other", verification=VerificationConfig(enabled=False))
    jobs.run_job(jobs.generate_volumes(other, 2))
    news = list(jobs.embed_cohort(study))
    assert [(n.done, n.total) for n in news] == [(i, 16) for i in range(1, 17)]
    kept = contents(study.cache_dir)
    monkeypatch.setattr(type(study.embedder()), "embed", None)
    jobs.run_job(jobs.scan_study(study))
    assert contents(study.cache_dir) == kept
    monkeypatch.undo()
    jobs.run_job(jobs.scan_study(other))
    mine, theirs = (
        {s.name: (s.similarity, s.neighbour) for s in x.result().samples} for x in (study, other)
    )
    assert mine == theirs
    # A damaged vector is computed again.
    (vector,) = study.cache_dir.rglob(f"{key_of(study, 0)}.npy")
    vector.write_bytes(b"damaged")
    jobs.run_job(jobs.embed_cohort(study))
    assert contents(study.cache_dir) == kept


def key_of(study, i):
    from napari_memscan.detection.retrieval.entries import compute_vector_key

    path = study.cohort.rows("training")[i].path
    return compute_vector_key(study.array_key(path), study.embedder().hash)


def test_one_volume_is_read_ahead_and_no_more(study, monkeypatch):
    reads = []
    volume = Study.volume

    def noted(self, path):
        reads.append(path)
        return volume(self, path)

    monkeypatch.setattr(Study, "volume", noted)
    job = jobs.embed_cohort(study)
    for done in (1, 2, 3):
        next(job)
        assert done <= len(reads) <= done + 1
    job.close()
    assert len(reads) <= 4


def test_settings_of_the_study_go_before_those_of_the_recipe(make_study, tiny_ldm, tmp_path):
    generator = {"kind": "ldm", "path": str(tiny_ldm), "sampler": "ddpm", "steps": 2}
    study = make_study(tmp_path / "study", generator=generator)
    jobs.run_job(jobs.generate_volumes(study, 1))
    assert (study.samples()[0].sampler, study.samples()[0].steps) == ("ddpm", "2")


def test_bad_requests_are_named_and_leave_the_study_free(study):
    for wrong, message in (
        ({"n": 0}, "at least one volume"),
        ({"n": 1, "seed": -1}, "seed -1"),
        ({"n": 1, "steps": 5000}, "between 1 and 1000"),
        ({"n": 1, "sampler": "euler"}, "choose ddim, ddpm or rflow"),
    ):
        with pytest.raises(BadInput, match=message):
            jobs.run_job(jobs.generate_volumes(study, **wrong))
    with study.lock("scan"):
        assert study.samples() == []


def test_a_stopped_generate_frees_the_study_and_goes_on(study, make_study, tmp_path):
    job = jobs.generate_volumes(study, 3, **ONE)
    for news in job:
        if news == DenoisingStep(1, 2, 3):
            break
    with pytest.raises(JobFailed, match="another memscan"):
        jobs.run_job(jobs.generate_volumes(Study.open(study.folder), 3))
    job.close()
    assert [r.sample for r in study.samples()] == ["s000000"]
    jobs.run_job(jobs.generate_volumes(study, 3))
    whole = make_study(tmp_path / "whole")
    jobs.run_job(jobs.generate_volumes(whole, 3, **ONE))
    assert contents(study.synthetic_dir) == contents(whole.synthetic_dir)


KILLED = """
import os, signal, sys
calls, fsync = 0, os.fsync
def killed(file):
    # Each file is flushed under its temporary name right before it gets its own.
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    fsync(file)
os.fsync = killed
from napari_memscan import jobs
from napari_memscan.study import Study
jobs.run_job(eval(sys.argv[3], {"jobs": jobs, "study": Study.open(sys.argv[2])}))
"""


def kill_at(write: int, study, job: str) -> None:
    """Run a job in a process that is killed in the midst of its n-th write."""
    command = [sys.executable, "-c", KILLED, str(write), str(study.folder), job]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode not in (0, 1), run.stderr


@pytest.mark.parametrize(("write", "volumes"), [(3, 0), (4, 1)])  # The first keeps the self-test.
def test_a_killed_generate_goes_on_with_the_same_bytes(write, volumes, study, make_study, tmp_path):
    whole = make_study(tmp_path / "whole")
    jobs.run_job(jobs.generate_volumes(whole, 3))
    Study.open(study.folder)  # Keeps the hashes of all real volumes.
    kill_at(write, study, "jobs.generate_volumes(study, 3)")
    again = Study.open(study.folder)
    assert len(again.samples()) == volumes
    news = list(jobs.generate_volumes(again, 3))
    assert news[0] == DenoisingStep(volumes, 1, 3)
    assert contents(again.synthetic_dir) == contents(whole.synthetic_dir)


@pytest.fixture(scope="module")
def scanned_study(make_study, tmp_path_factory):
    """Two volumes, scanned."""
    study = make_study(tmp_path_factory.mktemp("scanned") / "study")
    jobs.run_job(jobs.generate_volumes(study, 2))
    jobs.run_job(jobs.scan_study(study))
    return study


@pytest.fixture
def scanned(scanned_study, copy_study, tmp_path):
    return copy_study(scanned_study, tmp_path / "scanned")


@pytest.mark.parametrize(
    "write",
    [pytest.param(1, marks=pytest.mark.long), 8, pytest.param(-2, marks=pytest.mark.long), -1],
)
def test_a_killed_scan_goes_on_with_the_same_bytes(write, scanned):
    study = scanned
    whole = contents(study.scan_dir)
    assert sorted(whole) == ["neighbours.parquet", "summary.json", "verdicts.parquet"]
    writes = len(contents(study.cache_dir)) - 1 + len(whole)  # Not the generator's self-test.
    shutil.rmtree(study.cache_dir)
    shutil.rmtree(study.scan_dir)
    Study.open(study.folder)
    opened = len(contents(study.cache_dir))
    writes -= opened
    kill_at(write if write > 0 else writes + 1 + write, study, "jobs.scan_study(study)")
    again = Study.open(study.folder)
    assert again.result() is None
    kept = {path: path.stat().st_mtime_ns for path in again.cache_dir.rglob("[!.]*.npy")}
    jobs.run_job(jobs.scan_study(again))
    assert contents(again.scan_dir) == whole
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    # One file is written while the next volume is read: that one may not have its name yet.
    written = min(write - 1, writes - 3) if write > 0 else writes - 3
    assert written - 1 <= len(kept) - opened <= written


def test_scan_reports_each_volume_and_its_numbers_are_those_of_the_folders(plain_study, phantoms):
    study = plain_study
    jobs.run_job(jobs.generate_volumes(study, 2))
    news = list(jobs.scan_study(study))
    assert [n.done for n in news] == list(range(1, 17))
    assert {n.total for n in news} == {16}
    result = study.result()
    assert (result.n_training, result.n_validation, result.n_synthetic) == (8, 6, 2)
    paths = {s: [r.path for r in phantoms.rows(s)] for s in ("training", "validation")}
    alone = scan_folders(
        paths["training"],
        paths["validation"],
        [str(study.sample_path(r)) for r in study.samples()],
        preprocessing=study.config.preprocessing,
        verify=False,
    )
    # Lists of files say nothing of subjects, and that is the only difference.
    assert any("subject_id" in w for w in alone.warnings)
    rows = [study.cohort.rows(split) for split in ("training", "validation")]
    for told, one in ((False, alone), (True, result)):
        known = ([(study.content_key(r.path), r.subject_id * told) for r in of] for of in rows)
        assert one.references == hash_references(*known)
    without = [w for w in alone.to_dict()["warnings"] if "subject_id" not in w]
    # And drawn volumes have the name of their sample, without that of a format.
    drawn = alone.to_dict() | {"warnings": without, "references": result.references}
    for sample in drawn["samples"]:
        sample["name"] = sample["name"].removesuffix(".nii.gz")
    assert drawn == result.to_dict()


def test_two_scans_are_equal_to_the_byte_and_the_second_embeds_nothing(scanned, monkeypatch):
    study = scanned
    first = contents(study.scan_dir)
    again = Study.open(study.folder)
    monkeypatch.setattr(
        type(again.embedder()), "embed", lambda *_: pytest.fail("embedded a second time")
    )
    jobs.run_job(jobs.scan_study(again))
    assert contents(study.scan_dir) == first


def test_copies_come_first(make_study, phantoms, tmp_path):
    training = phantoms.rows("training")
    planted = [CohortRow(training[i].path, "synthetic") for i in (5, 2)]
    novel = [CohortRow(r.path, "synthetic") for r in phantoms.rows("unseen")]
    real = [r for r in phantoms.rows() if r.split != "unseen"]
    cohort = Cohort.from_rows([*real, *novel, *planted])
    # One of them is in the folder of the generator, too, and counts once.
    folder = Path(novel[0].path).parent
    generator = {"kind": "folder", "path": str(folder)}
    study = make_study(tmp_path / "study", cohort, generator=generator, k=3)
    result = jobs.run_job(jobs.scan_study(study))
    names = sorted(training[i].name for i in (5, 2))
    # The same file is in the cohort as a training volume, so its own name is taken.
    assert [s.name for s in result.samples[:2]] == [f"training/{name}" for name in names]
    assert [s.neighbour for s in result.samples[:2]] == names
    assert result.samples[0].similarity == pytest.approx(1)
    assert result.samples[2].similarity < 0.95
    assert [len(s.neighbours) for s in result.samples] == [3] * 7
    assert [r.seed for r in study.samples()] == [""] * 7


def test_a_folder_made_elsewhere_is_registered_once_and_not_copied(make_study, phantoms, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    unseen = [Path(r.path) for r in phantoms.rows("unseen")]
    # The cohort has unseen volumes of these names.
    names = [f"elsewhere/{path.name}" for path in unseen[:3]]
    for path in unseen[:2]:
        shutil.copy(path, folder)
    study = make_study(tmp_path / "study", generator={"kind": "folder", "path": str(folder)})
    assert jobs.run_job(jobs.generate_volumes(study, 5)) == names[:2]
    assert [study.sample_path(r).parent for r in study.samples()] == [folder] * 2
    assert list(study.synthetic_dir.glob("*.nii.gz")) == []
    shutil.copy(unseen[2], folder)
    assert jobs.run_job(jobs.scan_study(study)).n_synthetic == 3
    assert [r.sample for r in study.samples()] == names
    with pytest.raises(BadInput, match="made elsewhere, so nothing can be drawn here"):
        jobs.run_job(jobs.regenerate_sample(study, names[1]))
    (folder / "broken.nii.gz").write_bytes(b"half")
    with pytest.raises(BadInput, match=r"broken\.nii\.gz: not a whole NIfTI"):
        jobs.run_job(jobs.scan_study(study))
    assert len(study.samples()) == 3


def test_nothing_to_scan_and_lost_volumes_are_named(study):
    with pytest.raises(BadInput, match="no synthetic volumes yet"):
        jobs.run_job(jobs.scan_study(study))
    with pytest.raises(BadInput, match="not scanned yet"):
        jobs.report_study(study)
    jobs.run_job(jobs.generate_volumes(study, 2))
    study.sample_path(study.samples()[1]).unlink()
    with pytest.raises(BadInput, match=r"s000001\.nii\.gz: missing"):
        jobs.run_job(jobs.scan_study(study))


def test_regenerate_keeps_the_old_volume_and_takes_a_seed_of_its_own(study):
    jobs.run_job(jobs.generate_volumes(study, 2))
    old = contents(study.synthetic_dir)
    jobs.run_job(jobs.generate_volumes(study, 1, seed=90, sampler="ddpm", steps=2))
    new = str(jobs.run_job(jobs.regenerate_sample(study, "s000002")))
    row = study.samples()[3]
    assert (new, row.sample, row.parent) == ("s000003", "s000003", "s000002")
    assert row.seed not in {"1", "2", "90"}
    assert (row.sampler, row.steps) == ("ddpm", "2")
    assert study.lineage() == {"s000003": "s000002"}
    assert study.result().n_synthetic == 4
    assert contents(study.synthetic_dir)["s000000.nii.gz"] == old["s000000.nii.gz"]
    with pytest.raises(BadInput, match="replaced by s000003 already"):
        jobs.run_job(jobs.regenerate_sample(study, "s000002"))
    assert str(jobs.run_job(jobs.regenerate_sample(study, "s000003"))) == "s000004"
    with pytest.raises(BadInput, match="no such sample"):
        jobs.run_job(jobs.regenerate_sample(study, "s999999"))
    seeds = [r.seed for r in study.samples()]
    assert len(set(seeds)) == len(seeds)


def test_no_job_starts_while_another_works_on_the_study(study):
    with Study.open(study.folder).lock("generate"):
        for job in (
            jobs.generate_volumes(study, 1),
            jobs.scan_study(study),
            jobs.regenerate_sample(study, "s000000"),
        ):
            with pytest.raises(JobFailed, match="another memscan is working on this study"):
                jobs.run_job(job)
    assert study.samples() == []


@contextmanager
def small_disk(folder: Path, kilobytes: int):
    """Mount a file system of a given size, where that is allowed."""
    folder.mkdir()
    size = f"size={kilobytes}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; only root may")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_message_and_room_is_all_it_takes(make_study, tmp_path):
    whole = make_study(tmp_path / "whole")
    jobs.run_job(jobs.generate_volumes(whole, 4))
    jobs.run_job(jobs.scan_study(whole))
    with small_disk(tmp_path / "disk", 2048) as disk:
        study = make_study(disk / "study")
        jobs.run_job(jobs.generate_volumes(study, 1))
        fill = disk / "fill"
        fill_up(fill, leave=20_000)
        with pytest.raises(JobFailed, match="the disk is full"):
            jobs.run_job(jobs.generate_volumes(study, 4))
        made = Study.open(study.folder).samples()
        assert 1 <= len(made) < 4
        for row in made:
            assert study.volume(study.sample_path(row)).data.shape == (16, 16, 16)
        fill.unlink()
        jobs.run_job(jobs.generate_volumes(study, 4))
        assert contents(study.synthetic_dir) == contents(whole.synthetic_dir)
        fill_up(fill, leave=20_000)
        with pytest.raises(JobFailed, match="the disk is full"):
            jobs.run_job(jobs.scan_study(study))
        fill_up(disk / "rest", leave=0)
        with pytest.raises(JobFailed, match=r"study\.toml: the disk is full"):
            study.update(k=3)
        assert Study.open(study.folder).config.k == 5
        (disk / "rest").unlink()
        fill.unlink()
        result = jobs.run_job(jobs.scan_study(study))
        assert result.threshold == whole.result().threshold
        assert [s.similarity for s in result.samples] == [
            s.similarity for s in whole.result().samples
        ]


def fill_up(path: Path, leave: int) -> None:
    """Write until only `leave` bytes of a disk are free."""
    free = os.statvfs(path.parent)
    with path.open("wb") as file:
        file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - leave))


def test_training_on_a_study_makes_a_checkpoint_it_can_use(study):
    settings = AutoencoderSettings(steps=2, channels=(8, 8), batch=2)
    out = study.folder / "models" / "autoencoder"
    news = list(jobs.train_model(study, "autoencoder", out, settings, device="cpu"))
    assert news[13] == Progress(14, 14, f"read {Path(study.cohort.rows()[13].path).name}")
    # What is needed is said before the first step.
    assert "GB of memory" in news[14].note
    assert [n.step for n in news[15:]] == [1, 2]
    study.update(embedder=str(out))
    assert study.embedder().name == "autoencoder of the LDM"
    from napari_memscan.checkpoints.native_format import read_recipe

    recipe = read_recipe(out)
    assert recipe.preprocessing == study.config.preprocessing
    assert recipe.spacing == pytest.approx((0.6, 0.6, 0.6))


def test_the_report_names_what_made_the_volumes(study):
    jobs.run_job(jobs.generate_volumes(study, 2))
    jobs.run_job(jobs.generate_volumes(study, 1, seed=9, steps=2))
    jobs.run_job(jobs.scan_study(study))
    store = study.store()
    store.record("s000001", "copy", "reader")
    store.close()
    page = jobs.report_study(study)
    assert page == study.report_dir / "index.html"
    text = page.read_text(encoding="utf-8")
    for words in ("1 to 2, 9", "ddim 2 steps", "ddim 3 steps", study.config.preprocessing.hash):
        assert words in text
