"""A TorchScript embedder gives what it gives outside, only when trusted."""

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.trusted.serve_torchscript import TorchScriptModel
from napari_memscan.checkpoints.trusted.trust_check import needs_trust
from napari_memscan.checkpoints.trusted.wire import ModelRefused
from napari_memscan.embedders.interface import Embedder
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras

SHAPE = {"shape": (8, 12, 16)}


class Net(torch.nn.Module):
    def __init__(self, channels: int = 1):
        super().__init__()
        self.conv = torch.nn.Conv3d(channels, 4, 3, stride=2)
        self.last = torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        # Not the mean: it would not see how the axes are turned.
        return self.last(x[:, :, 0, 1, 2])


class Slices(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


class Maps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def randomised(net):
    random = torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=random) * 0.1 + (p.ndim == 1) * 0.1
    return net.eval()


def scripted(net, path):
    torch.jit.save(torch.jit.script(net), path)
    return path


@pytest.fixture(scope="module")
def eager():
    return randomised(Net())


@pytest.fixture(scope="module")
def file(eager, tmp_path_factory):
    return scripted(eager, tmp_path_factory.mktemp("jit") / "model_jit.pt")


def volumes():
    return np.random.default_rng(0).random((3, 1, 8, 12, 16), np.float32)


def test_equals_eager(eager, file):
    embedder = load_embedder(file, "cpu", SHAPE | {"intensity": {"rule": "minmax"}}, trust=True)
    assert isinstance(embedder, Embedder)
    with torch.inference_mode():
        wanted = eager(torch.from_numpy(volumes())).numpy()
    assert wanted.std() > 1e-3
    made = embedder.embed(volumes())
    assert made.dtype == np.float32
    assert np.allclose(made, wanted, atol=1e-6)
    assert embedder.embed(volumes()[1:2]).tobytes() == made[1:2].tobytes()
    assert (embedder.dim, embedder.input_shape) == (5, (8, 12, 16))
    assert embedder.preprocessing.shape == (8, 12, 16)
    assert embedder.report.trusted
    assert not embedder.report.warnings
    with pytest.raises(BadInput, match="8 x 12 x 16"):
        embedder.embed(volumes().swapaxes(2, 3))
    embedder.close()


def test_axes_are_turned_and_part_of_the_hash(eager, file):
    turned = load_embedder(file, "cpu", SHAPE | {"axes": "SRA"}, trust=True)
    x = np.stack([from_ras(v[0], "SRA")[None] for v in volumes()])
    assert x.shape[2:] == (16, 8, 12)
    with torch.inference_mode():
        wanted = eager(torch.from_numpy(x)).numpy()
    assert np.allclose(turned.embed(volumes()), wanted, atol=1e-6)
    assert "preprocessing" in turned.report.warnings[0]
    assert turned.preprocessing is None
    plain = load_embedder(file, "cpu", SHAPE, trust=True)
    assert plain.hash != turned.hash
    turned.close()
    plain.close()


def test_without_trust_it_is_refused(file):
    assert "TorchScript" in needs_trust(file)
    with pytest.raises(BadInput, match=r"TorchScript.*as long as it is not trusted"):
        load_embedder(file, "cpu", SHAPE)


def test_shape_must_be_stated(file):
    with pytest.raises(BadInput, match="as shape="):
        load_embedder(file, "cpu", trust=True)


def test_as_an_ldm_it_is_refused(file):
    from napari_memscan.generators.ldm import LDMGenerator

    with pytest.raises(BadInput, match="an LDM is needed"):
        LDMGenerator(file, "cpu", trust=True)


@pytest.mark.parametrize(
    ("net", "words"),
    [(Slices, "2D: it takes slices"), (lambda: Net(3), "takes 3 channels"), (Maps, "one vector")],
)
def test_what_is_no_embedder_of_volumes(tmp_path, net, words):
    path = scripted(randomised(net()), tmp_path / "other.pt")
    with pytest.raises(ModelRefused, match=words):
        TorchScriptModel(str(path), [8, 12, 16], "cpu")


def test_another_shape_is_told(tmp_path, eager):
    path = scripted(eager, tmp_path / "small.pt")
    with pytest.raises(BadInput, match=r"does not take \(1, 1, 2, 2, 2\).*is shape right"):
        load_embedder(path, "cpu", {"shape": (2, 2, 2)}, trust=True)


def test_plain_weights_need_no_trust(tmp_path, eager, tiny_ldm):
    torch.save(eager.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    for path in (
        tmp_path / "weights.pt",
        tmp_path / "cut.pt",
        tmp_path,
        tiny_ldm,
        "low-resolution",
        tmp_path / "absent",
        "C:model",
        "a" * 5000,
        "nul\0",
    ):
        assert needs_trust(path) is None
