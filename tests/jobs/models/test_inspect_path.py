"""What a path is, told once for the command line and the window."""

import numpy as np
import pytest

from napari_memscan.demo.study import get_demo_checkpoint
from napari_memscan.embedders.interface import Embedder
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.jobs.models.inspect_path import PathKind, inspect_path, load_model


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    for i in range(3):
        np.save(folder / f"{i}.npy", np.random.default_rng(i).random((4, 4, 4), np.float32))
    return folder


def test_what_is_no_model_is_told_without_reading_a_volume(volumes, tmp_path):
    (volumes / "1.npy").write_bytes(b"damaged")
    assert inspect_path(volumes / "1.npy").kind is PathKind.VOLUME
    found = inspect_path(volumes)
    assert (found.kind, len(found.volumes)) == (PathKind.VOLUMES, 3)
    (tmp_path / "study.toml").write_text("")
    assert inspect_path(tmp_path).kind is PathKind.STUDY
    table = tmp_path / "table.csv"
    table.write_text("path,split\n")
    assert inspect_path(table).kind is PathKind.COHORT
    (volumes / "Training").mkdir()
    assert inspect_path(volumes).kind is PathKind.COHORT


def test_models_are_loaded_by_what_they_are(tiny_ldm):
    found = inspect_path(tiny_ldm)
    assert found.kind is PathKind.CHECKPOINT
    assert isinstance(load_model(found.model.require_checkpoint()), LDMGenerator)
    embedder = get_demo_checkpoint("embedder")
    found = inspect_path(embedder)
    assert isinstance(load_model(found.model.require_checkpoint()), Embedder)
    wanted = inspect_path(embedder, wanted="ldm").model
    with pytest.raises(BadInput, match="but a 3D latent diffusion model is needed"):
        wanted.require_checkpoint(unscaled=True)


def test_code_is_named_and_not_run(tmp_path):
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    found = inspect_path(f"{tmp_path / 'own.py'}:make")
    assert found.kind is PathKind.CHECKPOINT
    assert "plug-in" in found.model.code
    assert found.model.checkpoint is None
    with pytest.raises(BadInput, match="not trusted"):
        found.model.require_checkpoint()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_is_an_error_that_says_what_to_choose(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"recipe\.json"):
        inspect_path(tmp_path / name)


PLUG_IN = """
class Mean:
    input_shape, dim = (4, 4, 4), 2
    def embed(self, batch):
        return batch.mean((2, 3, 4)).repeat(1, 2)
def make():
    return Mean()
"""


def test_a_trusted_plug_in_says_itself_whether_it_embeds(tmp_path):
    (tmp_path / "own.py").write_text(PLUG_IN)
    found = inspect_path(f"{tmp_path / 'own.py'}:make", trust=True)
    checkpoint = found.model.require_checkpoint()
    assert found.model.as_dict()["ran_code"]
    assert "embedder of its own code: 4 x 4 x 4 to 2 numbers" in found.model.lines()[0]
    embedder = load_model(checkpoint)
    assert embedder.embed(np.full((1, 1, 4, 4, 4), 0.5, np.float32)).tolist() == [[0.5, 0.5]]
    embedder.close()
    with pytest.raises(BadInput, match="makes an embedder, but a 3D latent diffusion model"):
        inspect_path(
            f"{tmp_path / 'own.py'}:make", wanted="ldm", trust=True
        ).model.require_checkpoint()
