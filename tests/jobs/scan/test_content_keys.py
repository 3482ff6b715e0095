"""Whatever changes a volume's voxels, in a table or in settings, is in the key of all it made."""

from __future__ import annotations

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.config import GeneratorConfig, StudyConfig, VerificationConfig
from napari_memscan.demo.phantoms import draw_phantom
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.jobs.sampling.guidance import prepare_guidance
from napari_memscan.jobs.scan.deduplicate import deduplicate_cohort
from napari_memscan.jobs.scan.embedding_map import compute_embedding_map
from napari_memscan.jobs.scan.membership import evaluate_membership
from napari_memscan.progress import run_job
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing, Window

RECIPE = Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900))
SPLITS = {"training": 3, "validation": 2, "synthetic": 2}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


def write_rows(folder):
    """Volumes of which only the table says the axes and the voxel size."""
    found = []
    for j, (split, n) in enumerate(SPLITS.items()):
        for i in range(n):
            path = folder / f"{split}{i}.npy"
            np.save(path, draw_phantom((j, i), (16, 16, 16)).data)
            found.append(CohortRow(str(path), split, f"{split}{i}", axes="XYZ", spacing="1 1 1"))
    return found


def make(folder, rows, **changes):
    values = {
        "name": "keys",
        "preprocessing": RECIPE,
        "verification": VerificationConfig(
            retrieved=2, proposed=1, verified=1, planted=1, workers=1
        ),
    }
    return Study.create(folder, StudyConfig(**values | changes), Cohort.from_rows(rows))


def corrected(study, column, value):
    """Correct one column of the cohort's table, as a person does, and open the study again."""
    table = study.cohort.table.copy()
    table[column] = value
    Cohort(table).save(study.cohort_path)
    return Study.open(study.folder)


def keys_in(study):
    return {path.stem for path in study.cache_dir.rglob("[!.]*.npy")}


def files_in(study):
    return {path.name: path.read_bytes() for path in study.scan_dir.iterdir()}


def work(study):
    """Do everything that keeps something in the cache, and return what it says."""
    result = run_job(jobs.scan_study(study))
    metrics = run_job(jobs.evaluate_metrics(study, ["nl2", "ncc"]))
    place = run_job(compute_embedding_map(study, result))
    twice = run_job(deduplicate_cohort(study))
    return (
        result.to_json(),
        [one.to_dict() for one in metrics],
        place.training.tolist(),
        twice.found.n_null,
        [study.array(row.path).tobytes() for row in study.cohort.rows()],
        files_in(study),
    )


TABLE = {"axes": "ZYX", "spacing": "1 1 2"}
SETTINGS = {
    "shape": {"shape": (12, 16, 16)},
    "resampling": {"spacing": (1.0, 1.0, 2.0)},
    "intensity": {"intensity": MinMax()},
}


@pytest.fixture(scope="module")
def worked(rows, tmp_path_factory):
    """Return a study in which everything was done, and what it said."""
    study = make(tmp_path_factory.mktemp("worked") / "study", rows)
    return study, work(study)


@pytest.mark.parametrize("what", [*TABLE, *SETTINGS])
def test_what_changes_voxels_makes_everything_anew_and_right(
    what, rows, worked, copy_study, tmp_path
):
    """What is kept of the old volumes is not used: all is as in a study that never saw them."""
    study, before = copy_study(worked[0], tmp_path / "study"), worked[1]
    old = keys_in(study)
    if what in TABLE:
        study = corrected(study, what, TABLE[what])
        fresh = make(
            tmp_path / "fresh", [CohortRow(**vars(row) | {what: TABLE[what]}) for row in rows]
        )
    else:
        recipe = RECIPE.model_copy(update=SETTINGS[what])
        study.update(preprocessing=recipe.model_dump())
        fresh = make(tmp_path / "fresh", rows, preprocessing=recipe)
    after, wanted = work(study), work(fresh)
    assert after == wanted
    assert after[0] != before[0] or what == "spacing"
    # Of what was kept only hashes of files are right still, and voxel sizes as they are in files.
    left = old & keys_in(fresh)
    assert len(left) == len(rows) * (2 if what in ("shape", "intensity") else 1)


def test_what_no_voxel_depends_on_is_not_made_anew(worked, copy_study, tmp_path):
    study = copy_study(worked[0], tmp_path / "study")
    kept = {p: p.stat().st_mtime_ns for p in study.cache_dir.rglob("[!.]*.npy")}
    study = corrected(study, "session_id", "first")
    study = corrected(study, "condition", "left")
    work(study)
    assert {p: p.stat().st_mtime_ns for p in study.cache_dir.rglob("[!.]*.npy")} == kept


@pytest.mark.parametrize("what", TABLE)
def test_latents_and_membership_follow_the_table(what, rows, tmp_path, tiny_ldm):
    model = GeneratorConfig(kind="ldm", path=str(tiny_ldm))
    study = make(tmp_path / "study", rows, generator=model)

    def ask(study):
        generator = study.generator()
        assert isinstance(generator, LDMGenerator)
        guidance = run_job(prepare_guidance(study, generator, 1.0, 1))
        found = run_job(evaluate_membership(study, "loss"))
        return guidance.key, found.to_dict()["attacks"]

    before = ask(study)
    old = keys_in(study)
    changed = [CohortRow(**vars(row) | {what: TABLE[what]}) for row in rows]
    study = corrected(study, what, TABLE[what])
    fresh = make(tmp_path / "fresh", changed, generator=model)
    after, wanted = ask(study), ask(fresh)
    assert after == wanted
    assert after[0] != before[0]
    real = [row for row in rows if row.split != "synthetic"]
    new = keys_in(study) - old
    assert len(new) >= 2 * len(real)  # a latent and a score of each


def test_a_cohort_row_that_lost_its_file_is_named(tmp_path):
    rows = write_rows(tmp_path)
    study = make(tmp_path / "study", rows)
    (tmp_path / "training0.npy").unlink()
    with pytest.raises(BadInput, match=r"training0\.npy: missing"):
        study.content_key(rows[0].path)
