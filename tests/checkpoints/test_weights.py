"""Weight files become tensors, and nothing in them is run."""

import argparse
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.weights import (
    OpaqueObject,
    detect_container,
    iter_tensors,
    open_weights,
)
from napari_memscan.errors import BadInput

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -2.0])}


def equal(found):
    return all(torch.equal(found[name], value) for name, value in TENSORS.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.pt", "model_60", "model.bin"])
def test_what_torch_saves_is_read_by_its_bytes_not_its_name(tmp_path, zipped, name):
    torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=zipped)
    found = open_weights(tmp_path / name)
    assert found.container == ("zip" if zipped else "legacy")
    assert equal(found.content)


def test_a_pickle_that_calls_itself_safetensors_is_refused(tmp_path):
    torch.save(TENSORS, tmp_path / "m.safetensors")
    with pytest.raises(BadInput, match="its name says safetensors, but it is a pickle"):
        open_weights(tmp_path / "m.safetensors")


def test_safetensors_under_another_name_keep_their_metadata(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "model.pt", metadata={"scale_factor": "0.9"})
    found = open_weights(tmp_path / "model.pt")
    assert found.container == "safetensors"
    assert found.metadata == {"scale_factor": "0.9"}
    assert equal(found.content)


def test_what_trainings_leave_beside_the_tensors_becomes_inert(tmp_path):
    content = {
        "model": TENSORS,
        "args": argparse.Namespace(latent=[8, 8, 8], lr=1e-4),
        "loss": np.float64(0.5),
        "table": np.arange(3),
        "path": pathlib.PurePosixPath("/data"),
        "epoch": 7,
    }
    torch.save(content, tmp_path / "m.pt")
    found = open_weights(tmp_path / "m.pt")
    assert equal(found.content["model"])
    assert found.content["epoch"] == 7
    assert {"argparse.Namespace", "numpy.dtype"} <= set(found.foreign)
    arguments = found.content["args"]
    assert isinstance(arguments, OpaqueObject)
    assert (arguments.latent, arguments.lr) == ([8, 8, 8], 1e-4)
    assert repr(found.content["path"]) == "<pathlib.PurePosixPath>"
    # Nothing was let in for good: PyTorch itself refuses the file as before.
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "m.pt", weights_only=True)


def test_default_dictionaries_are_plain_ones(tmp_path):
    from collections import defaultdict

    states = defaultdict(dict)
    states["net"].update(TENSORS)
    torch.save({"states": states}, tmp_path / "m.pt")
    found = open_weights(tmp_path / "m.pt")
    assert equal(found.content["states"]["net"])


class Foreign:
    def __reduce__(self):
        return print, ("run",)


def test_names_outside_the_list_are_refused_and_named(tmp_path, capsys):
    torch.save({"a": torch.ones(1), "b": Foreign()}, tmp_path / "m.pt")
    with pytest.raises(BadInput, match=r"m\.pt: asks for builtins\.print.*nor runs"):
        open_weights(tmp_path / "m.pt")
    assert "run" not in capsys.readouterr().out


def test_tensors_of_a_zip_archive_are_not_read_before_they_are_touched(tmp_path):
    import psutil

    torch.save({"w": torch.ones(60_000_000)}, tmp_path / "large.pt")
    before = psutil.Process().memory_info().rss
    found = open_weights(tmp_path / "large.pt")
    assert found.content["w"].shape == (60_000_000,)
    assert psutil.Process().memory_info().rss - before < 100e6


def test_one_byte_is_not_a_terabyte(tmp_path):
    torch.save({"w": torch.zeros(1).expand(2**31)}, tmp_path / "m.pt")
    with pytest.raises(BadInput, match=r"'w' claims 2,147,483,648 numbers, but .* 4 bytes"):
        open_weights(tmp_path / "m.pt")


def test_many_names_for_one_storage_are_refused_beyond_reason(tmp_path):
    tensor = torch.zeros(2_000_000)
    torch.save({str(i): tensor for i in range(20)}, tmp_path / "m.pt")
    with pytest.raises(BadInput, match="claims 160,000,000 bytes of tensors"):
        open_weights(tmp_path / "m.pt")
    # Tied layers and an averaged copy are ordinary.
    torch.save({"a": tensor, "b": tensor, "ema": {"a": tensor}}, tmp_path / "m.pt")
    assert len(list(iter_tensors(open_weights(tmp_path / "m.pt").content))) == 3


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.empty(3, device="meta"),
    ],
)
def test_only_plain_arrays_are_weights(tmp_path, tensor):
    torch.save({"w": tensor}, tmp_path / "m.pt")
    with pytest.raises(BadInput, match=r"m\.pt: (tensor 'w' is not a plain array|cannot be read)"):
        open_weights(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n....", "a PNG picture"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"  \n<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"just text, and more of it", "not a weight file"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, what):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BadInput, match=rf"model\.pt: .*{what}"):
        detect_container(tmp_path / "model.pt")


def test_folders_and_missing_files_are_no_weight_files(tmp_path):
    with pytest.raises(BadInput, match="not a regular file"):
        open_weights(tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        open_weights(tmp_path / "missing.pt")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"m/data.pkl": b"x", "m/../../evil": b"x"}, "points out of the archive"),
        ({"m/data.pkl": b"x", "/etc/evil": b"x"}, "points out of the archive"),
        ({"m/data.pkl": b"x", "m\\..\\evil": b"x"}, "points out of the archive"),
        ({"m/data.pkl": b"x", "other/data/0": b"x"}, "no data.pkl in its one folder"),
        ({"m/weights.bin": b"x"}, "no data.pkl"),
        ({"m/data.pkl": b"x", "m/code/net.py": b"x"}, "TorchScript"),
        ({"m/data.pkl": b"x", "m/constants.pkl": b"x"}, "TorchScript"),
        ({"m/data.pkl": b"x", "m/archive_format": b"pt2"}, "torch.export"),
    ],
)
def test_archives_that_pytorch_does_not_write_are_refused(tmp_path, entries, message):
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    with pytest.raises(BadInput, match=message):
        open_weights(tmp_path / "m.pt")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"0" * 100_000_000)
    assert (tmp_path / "m.pt").stat().st_size < 1_000_000
    with pytest.raises(BadInput, match=r"compressed \(to 100,000,000 bytes\)"):
        open_weights(tmp_path / "m.pt")
