"""A study is created, opened, changed and locked; and says what is wrong with it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import ContrastiveRecipe
from napari_memscan.config import GeneratorConfig, StudyConfig, suggest_preprocessing
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.jobs.sampling.generate import list_external_volumes
from napari_memscan.jobs.training.train import load_training_volumes
from napari_memscan.study import SampleRow, Study
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing, Window
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume


@pytest.fixture
def study(make_study, tmp_path):
    return make_study(tmp_path / "study")


@contextmanager
def without_rights():
    """Be somebody whom the rights of a folder bind, also where tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that everybody can reach; pytest's own belongs to one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="memscan-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def edit(study, **changes):
    """Change the text of study.toml as a person would."""
    import tomli_w

    path = study.folder / "study.toml"
    path.write_text(tomli_w.dumps(tomllib.loads(path.read_text()) | changes))


def test_what_was_created_is_what_opens(study):
    for path in (study.folder, study.folder / "study.toml", str(study.folder)):
        opened = Study.open(path)
        assert opened.folder == study.folder
        assert opened.config == study.config
        assert opened.cohort.rows() == study.cohort.rows()
    assert opened.samples() == []
    assert opened.lineage() == {}
    assert opened.result() is None
    with pytest.raises(BadInput, match="not scanned yet"):
        opened.queue(None)


def test_paths_below_the_study_are_relative_and_move_with_it(tiny_ldm, make_study, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(tiny_ldm, old / "models" / "ldm")
    cohort = write_phantom_cohort(old / "patients", 2, 1, 0, shape=(16, 16, 16))
    generator = GeneratorConfig(kind="ldm", path=str(old / "models" / "ldm"))
    make_study(old, cohort, generator=generator)
    assert tomllib.loads((old / "study.toml").read_text())["generator"]["path"] == "models/ldm"
    assert str(tmp_path) not in (old / "cohort.csv").read_text()
    old.rename(tmp_path / "new")
    moved = Study.open(tmp_path / "new")
    assert moved.generator().recipe.latent_shape == (3, 8, 8, 8)
    assert all(Path(row.path).is_relative_to(tmp_path / "new") for row in moved.cohort.rows())


def test_warnings_of_the_import_stay_with_the_study(phantoms, make_study, tmp_path):
    unknown = [replace(row, subject_id="") for row in phantoms.rows()]
    made = make_study(tmp_path / "study", Cohort.from_rows(unknown, ["Ask the data set's owner."]))
    opened = Study.open(made.folder)
    assert opened.cohort.warnings == made.cohort.warnings
    assert opened.cohort.warnings[0] == "Ask the data set's owner."
    assert opened.cohort.warnings[1].startswith("19 volumes have no subject_id")
    assert len(opened.cohort.warnings) == 2


def test_a_study_is_not_overwritten(study, make_study):
    before = (study.folder / "study.toml").read_bytes()
    with pytest.raises(BadInput, match="holds a study already"):
        make_study(study.folder, name="another")
    assert (study.folder / "study.toml").read_bytes() == before


def test_no_study_where_the_cohort_does_not_do(phantoms, make_study, tmp_path):
    rows = phantoms.rows()
    training = [row for row in rows if row.split == "training"]
    validation = [row for row in rows if row.split == "validation"]
    patient = CohortRow(validation[0].path, "validation", training[0].subject_id)
    for wrong, message in (
        (training, "no validation volumes"),
        (training[:1] + validation, "1 training volumes; at least 2"),
        ([*training, patient], f"subject {training[0].subject_id} is in training"),
        ([*training, CohortRow(str(tmp_path / "gone.nii"), "validation")], "gone.nii: missing"),
    ):
        with pytest.raises(BadInput, match=message):
            make_study(tmp_path / "study", Cohort.from_rows(wrong))
        assert not (tmp_path / "study").exists()


def test_the_cohort_is_checked_again_when_a_study_opens(make_study, tmp_path):
    cohort = write_phantom_cohort(tmp_path / "patients", 2, 1, 0, shape=(16, 16, 16))
    study = make_study(tmp_path / "study", cohort)
    row = cohort.rows("training")[0]
    # The same file in training and validation, whatever it was when the study was made.
    shutil.copy(row.path, cohort.rows("validation")[0].path)
    with pytest.raises(BadInput, match="are the same file"):
        Study.open(study.folder)


def test_files_that_are_missing_are_said_and_refused_where_they_are_needed(make_study, tmp_path):
    cohort = write_phantom_cohort(tmp_path / "patients", 3, 1, 0, shape=(16, 16, 16))
    study = make_study(tmp_path / "study", cohort)
    gone = cohort.rows("training")[:2]
    for row in gone:
        Path(row.path).unlink()
    opened = Study.open(study.folder)
    assert opened.cohort.rows() == cohort.rows()  # with the hashes they had
    (said,) = [text for text in opened.cohort.warnings if "missing" in text]
    assert said.startswith("2 of 4 files that the cohort names are missing, the first is ")
    assert f" {gone[0].name}." in said  # Results quote it, and say nothing of places.
    made = tmp_path / "made.nii.gz"
    shutil.copy(cohort.rows("training")[2].path, made)
    opened.add_samples([SampleRow("s000000", str(made))])
    for job in (jobs.scan_study(opened), load_training_volumes(opened)):
        with pytest.raises(BadInput, match=r"T000.nii.gz: missing. Restore"):
            jobs.run_job(job)
    # A new study is still refused.
    with pytest.raises(BadInput, match=r"T000.nii.gz: missing"):
        make_study(tmp_path / "another", cohort)


def test_a_study_of_a_newer_memscan_is_refused(study):
    edit(study, format=2, something_new=True)
    with pytest.raises(BadInput, match="made by a newer memscan"):
        Study.open(study.folder)


def test_mistakes_in_study_toml_are_named(study, tmp_path):
    with pytest.raises(BadInput, match=r"no study\.toml there"):
        Study.open(tmp_path)
    edit(study, k=0)
    with pytest.raises(BadInput, match="k: Input should be greater"):
        Study.open(study.folder)
    edit(study, k=5, colour="red")
    with pytest.raises(BadInput, match="colour: Extra inputs"):
        Study.open(study.folder)
    (study.folder / "study.toml").write_text("name = ")
    with pytest.raises(BadInput, match="not a readable TOML"):
        Study.open(study.folder)
    (study.folder / "study.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not a readable TOML"):
        Study.open(study.folder)


def test_update_writes_and_a_wrong_value_changes_nothing(study):
    study.update(k=3, generator=None)
    assert Study.open(study.folder).config.k == 3
    with pytest.raises(BadInput, match="no \\[generator\\]"):
        Study.open(study.folder).generator()
    with pytest.raises(BadInput, match="k: Input should be"):
        study.update(k="many")
    assert study.config.k == Study.open(study.folder).config.k == 3


def test_an_embedder_of_another_shape_is_refused(study, tmp_path):
    from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder

    recipe = ContrastiveRecipe(
        input_shape=(24, 24, 24),
        working_shape=(8, 8, 8),
        downsample=(4, 4, 4),
        n_hiddens=4,
        dim=4,
        preprocessing=Preprocessing(shape=(24, 24, 24), intensity=MinMax()),
    )
    network = ContrastiveEncoder(4, (4, 4, 4), (8, 8, 8), 4)
    save_checkpoint(tmp_path / "embedder", recipe, {"embedder": network.state_dict()})
    assert study.embedder().name.startswith("low-resolution")
    study.update(embedder=str(tmp_path / "embedder"))
    with pytest.raises(BadInput, match=r"\(24, 24, 24\), the study makes \(16, 16, 16\)"):
        study.embedder()


def test_a_checkpoint_of_another_kind_is_refused(study, tmp_path, tiny_ldm):
    study.update(generator={"kind": "ldm", "path": str(tmp_path)})
    with pytest.raises(BadInput, match=r"neither weight files nor recipe\.json"):
        study.generator()
    study.update(generator={"kind": "folder", "path": str(tmp_path / "none")})
    with pytest.raises(BadInput, match="no such folder"):
        list_external_volumes(study)
    with pytest.raises(BadInput, match="made elsewhere, so nothing can be drawn here"):
        study.generator()


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_arrays_come_from_the_cache_until_the_file_changes(study, tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    data = np.random.default_rng(0).uniform(-300, 900, (16, 16, 16)).astype(np.float32)
    np.save(path, data)
    first = study.array(path)
    np.testing.assert_allclose(first, (data + 300) / 1200, atol=1e-6)
    kept = list(study.cache_dir.rglob("*.npy"))
    assert len(kept) == 2  # the file's hash and the array
    np.testing.assert_array_equal(study.array(path), first)
    np.save(path, data[::-1].copy())
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(study.array(path), first[::-1])
    shutil.rmtree(study.cache_dir)
    np.testing.assert_array_equal(study.array(path), first[::-1])
    # Where nothing can be kept, what is there can still be read.
    shutil.rmtree(study.cache_dir)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        np.testing.assert_array_equal(study.array(path), first[::-1])
    assert not list(study.cache_dir.rglob("*.npy"))
    path.unlink()
    with pytest.raises(BadInput, match=r"a\.npy: missing"):
        study.array(path)


def test_volumes_of_the_cohort_are_read_with_its_axes(make_study, tmp_path):
    data = np.random.default_rng(0).random((5, 16, 12)).astype(np.float32)
    rows = []
    for i, split in enumerate(("training", "training", "validation")):
        np.save(tmp_path / f"{i}.npy", data + i)
        path = str(tmp_path / f"{i}.npy")
        rows.append(CohortRow(path, split, str(i), axes="ZYX", spacing="1 2 3"))
    study = make_study(tmp_path / "study", Cohort.from_rows(rows))
    volume = Study.open(study.folder).volume(rows[0].path)
    np.testing.assert_array_equal(volume.data, data.transpose(2, 1, 0))
    assert volume.spacing == (1, 2, 3)


def test_samples_keep_their_order_and_a_damaged_table_is_named(study):
    rows = [SampleRow("s000000", "s000000.nii.gz", "7"), SampleRow("s000001", "b.nii.gz", "8")]
    rows.append(SampleRow("s000002", "c.nii.gz", "9", parent="s000000"))
    for row in rows:
        study.add_samples([row])
    assert study.samples() == rows
    assert study.lineage() == {"s000002": "s000000"}
    assert study.sample_path(rows[0]) == study.synthetic_dir / "s000000.nii.gz"
    study.samples_path.write_text("sample,colour\ns000000,red\n")
    with pytest.raises(BadInput, match="table of samples cannot be read"):
        study.samples()


def test_places_of_samples_are_absolute_and_links_keep_their_names(study, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "a.nii.gz").touch()
    study.synthetic_dir.mkdir(exist_ok=True)
    (study.synthetic_dir / "file.nii.gz").symlink_to(elsewhere / "a.nii.gz")
    (tmp_path / "linked").symlink_to(elsewhere / "deep")
    for path, expected in {
        "s000000.nii.gz": study.synthetic_dir / "s000000.nii.gz",
        "file.nii.gz": study.synthetic_dir / "file.nii.gz",
        "../../elsewhere/a.nii.gz": elsewhere / "a.nii.gz",
        str(tmp_path / "linked" / "missing.nii.gz"): tmp_path / "linked" / "missing.nii.gz",
        # Behind a link to a folder '..' is that folder's, not the link's.
        "../../linked/../a.nii.gz": elsewhere / "a.nii.gz",
    }.items():
        assert study.sample_path(SampleRow("s000000", path)) == expected


def test_one_job_at_a_time_in_this_process(study):
    with study.lock("generate"):
        with (
            pytest.raises(JobFailed, match="another memscan is working on this study"),
            Study.open(study.folder).lock("scan"),
        ):
            pass
        assert Study.open(study.folder).config == study.config
    with study.lock("scan"):
        pass


def test_one_job_at_a_time_across_processes_and_a_dead_one_holds_nothing(study):
    code = (
        "import sys; from napari_memscan.study import Study\n"
        "with Study.open(sys.argv[1]).lock('generate'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(study.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(JobFailed, match="so it cannot scan now"), study.lock("scan"):
            pass
    finally:
        other.kill()
        other.communicate()
    with study.lock("scan"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="rights of folders differ on Windows")
def test_a_folder_that_cannot_be_written_is_named(study, make_study, open_folder, monkeypatch):
    shutil.copytree(study.folder, open_folder / "study")
    copy = Study(open_folder / "study", study.config, study.cohort)
    with copy.lock("scan"):
        pass
    (copy.folder / ".memscan.lock").unlink(missing_ok=True)
    (copy.folder / "study.toml").chmod(0o444)
    for folder in (copy.folder, open_folder):
        folder.chmod(0o555)
    # The cohort's files are out of reach of anybody without rights, which is not the matter here.
    monkeypatch.setattr(Cohort, "check", lambda self: None)
    with without_rights():
        with pytest.raises(JobFailed, match="Copy the study to a folder"), copy.lock("scan"):
            pass
        with pytest.raises(JobFailed, match=r"study\.toml: cannot be written"):
            copy.update(k=2)
        with pytest.raises(JobFailed, match="Choose a folder you may write to"):
            make_study(open_folder / "new")
    assert copy.config.k == 5
    for folder in (open_folder, copy.folder):
        folder.chmod(0o755)


def test_a_file_in_place_of_the_folder_is_named(make_study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JobFailed, match="cannot be written"):
        make_study(tmp_path / "file")


def test_suggested_preprocessing_follows_models_then_the_cohort(phantoms, tiny_ldm, tmp_path):
    volumes = []
    for i, shape in enumerate([(37, 20, 8), (35, 28, 9), (33, 29, 200)]):
        data = np.random.default_rng(i).random(shape).astype(np.float32)
        write_nifti(Volume(data, (1.0, 1.0, 2.0)), tmp_path / f"{i}.nii")
        volumes.append(CohortRow(str(tmp_path / f"{i}.nii"), "training"))
    cohort = Cohort.from_rows(volumes)
    plain = suggest_preprocessing(cohort)
    assert plain == Preprocessing(shape=(32, 32, 16), intensity=Percentile(low=1, high=99))
    finer = suggest_preprocessing(cohort, spacing=(2.0, 1.0, 0.5))
    assert finer.shape == (16, 32, 40)
    assert finer.spacing == (2, 1, 0.5)
    of_model = suggest_preprocessing(cohort, trained=[read_recipe(tiny_ldm).preprocessing])
    assert of_model.shape == (16, 16, 16)
    assert of_model.intensity == Window(low=-300, high=900)
    said = suggest_preprocessing(
        cohort, trained=[read_recipe(tiny_ldm).preprocessing], shape=(8, 8, 8), intensity=MinMax()
    )
    assert said == Preprocessing(shape=(8, 8, 8), intensity=MinMax())
    with pytest.raises(BadInput, match=r"preprocessing: shape\.0"):
        suggest_preprocessing(cohort, shape=(2, 8, 8))


def test_a_configuration_says_what_it_may_be():
    with pytest.raises(ValueError, match="quantile"):
        StudyConfig.model_validate(
            {
                "name": "x",
                "preprocessing": {"shape": (8, 8, 8), "intensity": {"rule": "minmax"}},
                "rule": {"quantile": 1.5},
            }
        )


def test_what_is_declared_of_a_model_is_checked_when_the_study_is_opened(make_study, tmp_path):
    study = make_study(tmp_path / "s")
    path = study.folder / "study.toml"
    text = path.read_text()
    path.write_text(text + "\n[generator.declared]\nscale_factor = -1\n")
    with pytest.raises(BadInput, match=r"generator\.declared: .*scale_factor"):
        Study.open(study.folder)
    path.write_text(text + "\n[generator.declared]\nsteps = 2\n")
    assert Study.open(study.folder).config.generator.declared == {"steps": 2}
