"""MedicalNet's dilated ResNets, the first BrainIAC, and ResNets of MONAI: told apart, exact."""

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet
from torch import nn

from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.orientation import from_ras

WIDTHS = [4, 6, 8, 10]
SHAPE = {"shape": (40, 36, 34)}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif value.is_floating_point():
            state[name] = 0.1 * noise + 0.3 if value.ndim == 1 else 0.2 * noise
    network.load_state_dict(state)
    return network.eval()


class Block(nn.Module):
    """A residual block, plain or with a bottleneck, whose middle convolution may be dilated."""

    def __init__(self, inputs, width, stride, dilation, deep, shortcut):
        super().__init__()
        outputs = 4 * width if deep else width
        wide = {"kernel_size": 3, "dilation": dilation, "padding": dilation, "bias": False}
        if deep:
            self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, stride=stride, **wide)
            self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(outputs)
        else:
            self.conv1 = nn.Conv3d(inputs, width, stride=stride, **wide)
            self.conv2 = nn.Conv3d(width, width, **wide)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        self.deep, self.stride, self.outputs = deep, stride, outputs
        self.changes = stride != 1 or inputs != outputs
        if self.changes and shortcut == "B":
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def around(self, x):
        if not self.changes:
            return x
        if hasattr(self, "downsample"):
            return self.downsample(x)
        x = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        return torch.cat([x, x.new_zeros(1, self.outputs - x.shape[1], *x.shape[2:])], 1)

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.deep:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + self.around(x))


class MedicalNet(nn.Module):
    """As Chen et al. 2019 describe and train it: the last two stages are dilated by 2 and 4."""

    def __init__(self, layers, deep, shortcut):
        super().__init__()
        self.conv1 = nn.Conv3d(1, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(WIDTHS[0])
        inputs = WIDTHS[0]
        stages = zip(WIDTHS, layers, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        for i, (width, number, stride, dilation) in enumerate(stages, 1):
            blocks = []
            for j in range(number):
                blocks.append(Block(inputs, width, 1 if j else stride, dilation, deep, shortcut))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.conv_seg = nn.Sequential(nn.ConvTranspose3d(inputs, 2, 2, 2), nn.BatchNorm3d(2))

    def forward(self, x):
        x = nn.functional.max_pool3d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3, 4))


KINDS = {
    "10": ([1, 1, 1, 1], False, "B"),
    "18": ([2, 2, 2, 2], False, "A"),
    "50": ([3, 4, 6, 3], True, "B"),
}


def volume(seed=0):
    data = np.random.default_rng(seed).random((40, 36, 34)).astype(np.float32)
    data[:8] = 0  # background
    return data


def saved(tmp_path, network, prefix="module.", name="resnet.pth", skip="nothing"):
    state = {prefix + k: v for k, v in network.state_dict().items() if skip not in k}
    torch.save({"state_dict": state}, tmp_path / name)
    return tmp_path / name


def standardised(data):
    inside = data > 0
    scaled = (data - data[inside].mean()) / data[inside].std()
    return np.where(inside, scaled, 0).astype(np.float32)


def vector(network, data):
    with torch.no_grad():
        return network(torch.from_numpy(data)[None, None])[0].numpy()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    network = randomised(MedicalNet(*KINDS["10"]))
    return saved(tmp_path_factory.mktemp("medicalnet"), network)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_dilated_originals(tmp_path, kind):
    network = randomised(MedicalNet(*KINDS[kind]))
    path = saved(tmp_path, network, skip="num_batches_tracked" if kind == "10" else "conv_seg")
    best = detect_families(path)[0]
    assert (best.family, best.kind, best.missing) == ("medicalnet", "embedder", ())
    layers, deep, shortcut = KINDS[kind]
    assert f"ResNet-{kind}: blocks {layers}, " in best.reasons[0]
    embedder = load_embedder(path, "cpu", SHAPE)
    assert embedder.dim == (4 if deep else 1) * WIDTHS[-1]
    assert embedder.recipe.arguments["shortcut_type"] == shortcut
    for seed in (0, 1):
        expected = vector(network, from_ras(standardised(volume(seed)), "SAR"))
        found = embedder.embed(volume(seed)[None, None])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 1e-2
    assert np.abs(found - embedder.embed(volume(0)[None, None])[0]).max() > 1e-4


def test_the_same_weights_in_monais_resnet_would_be_another_network(tiny):
    """Why `dilated` exists: every name and shape fits MONAI's ResNet, its features differ."""
    state = load_checkpoint(tiny, SHAPE).weights("backbone")
    network = ResNet(
        "basic",
        [1, 1, 1, 1],
        WIDTHS,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    ).eval()
    network.load_state_dict(state, strict=True)
    data = from_ras(standardised(volume()), "SAR")
    ours = load_embedder(tiny, "cpu", SHAPE).embed(volume()[None, None])[0]
    assert np.abs(vector(network, data) - ours).max() > 1e-2
    plain = SHAPE | {"network": {"dilated": False}}
    np.testing.assert_allclose(
        load_embedder(tiny, "cpu", plain).embed(volume()[None, None])[0],
        vector(network, data),
        rtol=1e-5,
        atol=1e-5,
    )


def test_defaults_are_noted_and_what_is_declared_goes_before(tiny):
    checkpoint = load_checkpoint(tiny)
    recipe = checkpoint.recipe
    assert recipe.input_shape == (448, 448, 56)
    assert (recipe.axes, recipe.normalisation, recipe.pooling) == ("SAR", "zscore-nonzero", "mean")
    facts = {fact.name: (fact.value, fact.origin) for fact in checkpoint.report.facts}
    assert facts["shape"][1].startswith("the family's default: MedicalNet's settings")
    assert facts["dilated"][0] == "True"
    assert any("noise" in text for text in checkpoint.report.warnings)
    state = checkpoint.report.states["backbone"]
    assert (state.where, state.prefix) == ("state_dict", "module.")
    assert state.unused
    assert all(name.startswith("conv_seg.") for name in state.unused)
    declared = load_checkpoint(tiny, {"shape": (32, 32, 48), "spacing": (1, 1, 2), "axes": "RAS"})
    assert declared.recipe.input_shape == (32, 32, 48)
    assert declared.recipe.preprocessing.spacing == (1, 1, 2)
    assert declared.recipe.axes == "RAS"
    assert {f.name: f.origin for f in declared.report.facts}["shape"] == "declared"


def brainiac(**more):
    return randomised(
        ResNet("bottleneck", [1, 1, 1, 1], WIDTHS, n_input_channels=1, conv1_t_stride=2, **more)
    )


def test_the_first_brainiac_is_not_dilated(tmp_path):
    network = brainiac(feed_forward=False)
    path = saved(tmp_path, network, "backbone.", "BrainIAC.ckpt")
    best = detect_families(path)[0]
    assert best.family == "medicalnet"
    assert best.reasons[1] == "below 'backbone.'"
    assert load_checkpoint(path).recipe.input_shape == (128, 128, 128)
    embedder = load_embedder(path, "cpu", SHAPE)
    assert embedder.recipe.normalisation == "none"
    np.testing.assert_allclose(
        embedder.embed(volume()[None, None])[0], vector(network, volume()), rtol=1e-5, atol=1e-5
    )


def test_a_resnet_of_monai_needs_its_stride_said(tmp_path):
    network = brainiac(num_classes=3)
    torch.save(network.state_dict(), tmp_path / "resnet.pt")
    (best,) = detect_families(tmp_path / "resnet.pt")
    assert [fact.name for fact in best.missing] == ["shape", "intensity", "network"]
    with pytest.raises(BadInput, match=r'as network=\{"conv1_t_stride": 1\}'):
        load_checkpoint(tmp_path / "resnet.pt", SHAPE)
    stated = SHAPE | {"intensity": {"rule": "minmax"}, "network": {"conv1_t_stride": 2}}
    embedder = load_embedder(tmp_path / "resnet.pt", "cpu", stated)
    network.fc = nn.Identity()
    np.testing.assert_allclose(
        embedder.embed(volume()[None, None])[0], vector(network, volume()), rtol=1e-5, atol=1e-5
    )


def test_converted_it_gives_the_same_vector_and_recipe(tiny, tmp_path):
    checkpoint = load_checkpoint(tiny, SHAPE)
    save_checkpoint(
        tmp_path / "own", checkpoint.recipe, {"backbone": checkpoint.weights("backbone")}
    )
    native = load_embedder(tmp_path / "own", "cpu")
    assert native.recipe == checkpoint.recipe
    assert native.embed(volume()[None, None]).tobytes() == (
        load_embedder(tiny, "cpu", SHAPE).embed(volume()[None, None]).tobytes()
    )


def edited(tmp_path, tiny, change):
    content = torch.load(tiny, weights_only=True)
    change(content["state_dict"])
    torch.save(content, tmp_path / "edited.pth")
    return tmp_path / "edited.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.update({"module.layer3.0.conv2.weight": torch.zeros(8, 8, 1, 1, 1)}),
            r"layer3\.0\.conv2\.weight is \(8, 8, 1, 1, 1\)",
        ),
        (lambda s: s.pop("module.layer4.0.bn2.weight"), r"missing: layer4\.0\.bn2\.weight"),
        (
            lambda s: s.update({"module.layer5.0.conv1.weight": torch.zeros(3)}),
            r"not in the network: layer5\.0\.conv1\.weight",
        ),
        (
            lambda s: s.update({"module.conv1.weight": torch.ones(4, 3, 7, 7, 7)}),
            "takes 3 channels at once",
        ),
        (lambda s: s.pop("module.layer2.0.downsample.0.weight"), "downsample"),
    ],
)
def test_what_does_not_fit_is_refused(tiny, tmp_path, change, message):
    with pytest.raises(BadInput, match=message):
        load_checkpoint(edited(tmp_path, tiny, change), SHAPE)


def test_an_argument_that_does_not_build_it_is_refused(tiny):
    with pytest.raises(BadInput, match="do not build a ResNet"):
        load_checkpoint(tiny, SHAPE | {"network": {"conv2_t_stride": 1}})


def test_a_truncated_file_is_refused(tiny, tmp_path):
    data = tiny.read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match=r"cut\.pth"):
        detect_families(tmp_path / "cut.pth")


def test_a_2d_resnet_is_not_of_this_family(tmp_path):
    network = ResNet("basic", [1, 1, 1, 1], WIDTHS, spatial_dims=2)
    torch.save(network.state_dict(), tmp_path / "flat.pt")
    assert [c.family for c in detect_families(tmp_path / "flat.pt")] == ["slices"]
