"""A folder of volumes made elsewhere stands where a model would."""

import numpy as np
import pytest

from napari_memscan.errors import BadInput
from napari_memscan.generators.folder import FolderGenerator
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name in ("b.nii.gz", "a.nii.gz", "sub/c.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = random.random((5, 6, 7)).astype(np.float32)
        write_nifti(Volume(data, (1.0, 2.0, 3.0)), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a volume")
    return tmp_path


def test_every_file_is_a_sample_without_seed_or_model(folder):
    samples = list(FolderGenerator(folder).generate([1, 2, 3], steps=5, sampler="ddpm"))
    assert all(isinstance(s, GeneratedSample) for s in samples)
    assert [s.volume.path.name for s in samples] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert [s.index for s in samples] == [0, 1, 2]
    assert {(s.seed, s.recipe_hash, s.checkpoint_hash) for s in samples} == {(None, "", "")}
    assert samples[0].volume.data.shape == (5, 6, 7)
    assert samples[0].volume.spacing == (1.0, 2.0, 3.0)


def test_it_goes_on_from_a_start(folder):
    samples = list(FolderGenerator(folder).generate(start=2))
    assert [(s.index, s.volume.path.name) for s in samples] == [(2, "c.nii.gz")]
    assert list(FolderGenerator(folder).generate(start=3)) == []


def test_one_volume_is_read_at_a_time(folder):
    generator = FolderGenerator(folder)
    run = generator.generate()
    next(run)
    generator.files[1].unlink()
    with pytest.raises(BadInput, match=r"b\.nii\.gz"):
        next(run)


def test_a_missing_or_empty_folder_is_a_message(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        FolderGenerator(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=str(tmp_path)):
        FolderGenerator(tmp_path)
