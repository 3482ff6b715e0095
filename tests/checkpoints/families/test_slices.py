"""2D networks over slices: the original ones, slice by slice and pooled by hand, give the same."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_memscan.checkpoints.loading import describe_checkpoint, detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.jobs import convert_checkpoint, run_job

SHAPE = (19, 18, 5)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
POOLED = {
    "mean": lambda f: f.mean(0),
    "max": lambda f: f.max(0),
    "mean+std": lambda f: np.concatenate([f.mean(0), f.std(0)]),
    "gem": lambda f: np.cbrt((np.maximum(f, 1e-6) ** 3).mean(0)),
}


class Block(nn.Module):
    """Of torchvision's ResNets."""

    def __init__(self, inputs, width, stride, deep):
        super().__init__()
        outputs = 4 * width if deep else width
        if deep:
            self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.deep, self.outputs = deep, outputs
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.deep:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """As torchvision has it, with fewer channels."""

    def __init__(self, channels=3, deep=False, layers=(1, 2, 1, 1), stem=7):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, stem, 2, stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        inputs = 4
        for i, (width, number) in enumerate(zip((4, 5, 6, 7), layers, strict=True)):
            blocks = []
            for j in range(number):
                blocks.append(Block(inputs, width, 2 if i and not j else 1, deep))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, 10)

    def forward(self, x):
        for layer in list(self.children())[:-1]:
            x = layer(x)
        return x.flatten(1)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return self.gamma * x


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 10), nn.Linear(10, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, dim, heads, scaled):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)
        if scaled:
            self.ls1, self.ls2 = Scale(dim), Scale(dim)

    def forward(self, x):
        ls1, ls2 = getattr(self, "ls1", nn.Identity()), getattr(self, "ls2", nn.Identity())
        x = x + ls1(self.attn(self.norm1(x)))
        return x + ls2(self.mlp(self.norm2(x)))


class Patches(nn.Module):
    def __init__(self, channels, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """As DINO and DINOv2 have it; `registers` as DINOv2, with timm's name as timm."""

    def __init__(self, channels=3, dim=16, heads=4, scaled=False, registers="", own=True):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 9 + own, dim))
        if registers:
            setattr(self, registers, nn.Parameter(torch.zeros(1, 2, dim)))
            self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = Patches(channels, dim, 4)
        self.blocks = nn.ModuleList(Layer(dim, heads, scaled) for _ in range(2))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.registers, self.own = registers, own

    def forward(self, x, grid=(3, 3)):
        token, patches = self.cls_token, self.pos_embed
        if self.own:
            token, patches = token + patches[:, :1], patches[:, 1:]
        if grid != (3, 3):
            plane = patches.reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
            plane = nn.functional.interpolate(plane, grid, mode="bicubic")
            patches = plane.flatten(2).transpose(1, 2)
        parts = [token.expand(len(x), -1, -1), self.patch_embed(x) + patches]
        if self.registers:
            parts.insert(1, getattr(self, self.registers).expand(len(x), -1, -1))
        x = torch.cat(parts, 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


HEADS = {"network": {"num_heads": 4}}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + noise.abs()
        elif value.is_floating_point():
            state[name] = 0.2 * noise + 0.3 if value.ndim == 1 else 0.3 * noise
        if name.startswith(("patch_embed", "pos_embed", "cls_token")):
            state[name] *= 0.05  # So little that a wrong eps of the norms shows.
    network.load_state_dict(state)
    return network.eval()


def saved(path, network, wrap=lambda state: state):
    torch.save(wrap(network.state_dict()), path)
    return path


def volume(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def slices(data, axis):
    """As radiologists view them, written out: rows downwards, columns from the left of the page."""
    for i in range(data.shape["XYZ".index(axis)]):
        if axis == "Z":  # rows from anterior, columns from the right
            yield data[::-1, ::-1, i].T
        elif axis == "Y":  # rows from superior, columns from the right
            yield data[::-1, i, ::-1].T
        else:  # rows from superior, columns from anterior
            yield data[i, ::-1, ::-1].T


def by_hand(network, data, pooling, axes="Z", channels=3, size=None, **more):
    parts = []
    for axis in axes:
        features = []
        for image in slices(data, axis):
            x = torch.from_numpy(image.copy())[None, None]
            if size is not None:
                x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
            image = x[0].numpy()
            x = (np.repeat(image, 3, 0) - MEAN) / STD if channels == 3 else image
            with torch.no_grad():
                features.append(network(torch.from_numpy(x)[None], **more)[0].numpy())
        parts.append(POOLED[pooling](np.stack(features).astype(np.float64)))
    return np.concatenate(parts)


def assert_same(path, network, declared, shape=SHAPE, **more):
    embedder = load_embedder(path, "cpu", declared)
    pooling = embedder.recipe.pooling
    found = embedder.embed(np.stack([volume(i, shape) for i in range(2)])[:, None])
    for i in range(2):
        expected = by_hand(network, volume(i, shape), pooling, **more)
        assert embedder.dim == len(expected)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-4
    return embedder


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("deep", [False, True])
def test_a_resnet_of_torchvision(tmp_path, pooling, deep):
    network = randomised(ResNet(deep=deep))
    path = saved(tmp_path / "resnet.pth", network)
    embedder = assert_same(path, network, {"pooling": pooling})
    assert embedder.input_shape is None
    (best,) = detect_families(path)
    assert (best.family, best.kind, best.missing) == ("slices", "embedder", ())
    kind = "bottleneck" if deep else "basic"
    assert best.reasons == (f"a 2D ResNet-{17 if deep else 12}: blocks [1, 2, 1, 1], {kind}",)
    report = load_checkpoint(path).report
    assert report.states["backbone"].unused == ["fc.bias", "fc.weight"]
    facts = {fact.name: (fact.value, fact.origin) for fact in report.facts}
    assert facts["pooling"] == ("mean+std", "the family's default")
    assert facts["slice_axes"] == ("Z", "the family's default")
    assert facts["conv1_t_stride"] == ("2", "torchvision's")
    assert facts["normalisation"][0].startswith("ImageNet's mean and std")


@pytest.mark.parametrize("axes", ["X", "Y", "XYZ"])
def test_slices_of_other_axes_and_of_all(tmp_path, axes):
    network = randomised(ResNet())
    path = saved(tmp_path / "resnet.pth", network)
    embedder = assert_same(path, network, {"slice_axes": axes}, axes=axes)
    assert embedder.dim == 14 * len(axes)


def test_grey_weights_old_files_and_a_sequence_of_children(tmp_path):
    network = randomised(ResNet(channels=1))

    def old(state):
        kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        children = [name for name, _ in network.named_children()]
        renamed = {}
        for name, value in kept.items():
            child, _, rest = name.partition(".")
            key = f"backbone.{children.index(child)}.{rest}" if child != "fc" else name
            renamed[key] = value
        return {"state_dict": renamed}

    path = saved(tmp_path / "grey.pt", network, old)
    embedder = assert_same(path, network, {}, channels=1)
    assert (embedder.recipe.mean, embedder.recipe.std) == ((0,), (1,))
    assert load_checkpoint(path).report.states["backbone"].prefix == "backbone."


def test_a_resnet_takes_slices_of_a_stated_size(tmp_path):
    network = randomised(ResNet())
    path = saved(tmp_path / "resnet.pth", network)
    for size in ((24, 28), (12, 8)):
        declared = {"network": {"img_size": list(size)}}
        assert_same(path, network, declared, size=size)


@pytest.mark.parametrize("pooling", POOLED)
def test_a_transformer_of_dino(tmp_path, pooling):
    network = randomised(ViT())
    path = tmp_path / "dino.pth"
    student = {f"module.backbone.{k}": v + 1 for k, v in network.state_dict().items()}
    teacher = {f"backbone.{k}": v for k, v in network.state_dict().items()}
    teacher["head.last_layer.weight_v"] = torch.ones(3, 3)
    torch.save({"student": student, "teacher": teacher, "epoch": 99}, path)
    embedder = assert_same(path, network, HEADS | {"pooling": pooling}, size=(12, 12))
    assert embedder.recipe.slice_shape == (12, 12)
    checkpoint = load_checkpoint(path, HEADS | {"pooling": pooling})
    assert checkpoint.report.states["backbone"].where == "teacher"
    assert checkpoint.report.states["backbone"].unused == ["head.last_layer.weight_v"]
    assert len(checkpoint.report.warnings) == (pooling == "gem")


@pytest.mark.parametrize(
    ("registers", "own"), [("", True), ("register_tokens", True), ("reg_token", False)]
)
def test_layer_scale_and_registers_of_dinov2(tmp_path, registers, own):
    network = randomised(ViT(scaled=True, registers=registers, own=own))
    path = saved(tmp_path / "dinov2.pth", network)
    embedder = assert_same(path, network, HEADS, size=(12, 12))
    assert embedder.recipe.arguments["registers"] == (2 if registers else 0)


def test_positions_are_resized_to_slices_of_another_size(tmp_path):
    network = randomised(ViT(channels=1))
    path = saved(tmp_path / "vit.pth", network)
    declared = {"network": HEADS["network"] | {"img_size": [20, 16]}}
    assert_same(path, network, declared, channels=1, size=(20, 16), grid=(5, 4))


def test_the_number_of_heads_is_sixty_four_numbers_each_or_must_be_said(tmp_path):
    path = saved(tmp_path / "small.pth", randomised(ViT()))
    with pytest.raises(BadInput, match="number of attention heads"):
        load_checkpoint(path)
    large = randomised(ViT(dim=128, heads=2))
    assert_same(saved(tmp_path / "large.pth", large), large, {}, size=(12, 12))


@pytest.mark.parametrize("network", [ResNet(), ViT(scaled=True)], ids=["ResNet", "ViT"])
def test_converted_it_is_the_same_embedder(tmp_path, network):
    path = saved(tmp_path / "weights.pth", randomised(network))
    declared = {"pooling": "max", "slice_axes": "XZ"}
    declared |= HEADS if isinstance(network, ViT) else {}
    from napari_memscan.checkpoints.overrides import ModelOverrides

    run_job(convert_checkpoint(path, tmp_path / "own", ModelOverrides.from_mapping(declared)))
    recipe = read_recipe(tmp_path / "own")
    assert (recipe.kind, recipe.pooling, recipe.slice_axes) == ("slices", "max", "XZ")
    text = describe_checkpoint(tmp_path / "own")
    assert text.startswith(f"embedder, slices along X, Z through a 2D {recipe.network}, max over")
    before, after = load_embedder(path, "cpu", declared), load_embedder(tmp_path / "own", "cpu")
    data = volume()[None, None]
    assert before.embed(data).tobytes() == after.embed(data).tobytes()


def changed(change):
    def wrap(state):
        state = dict(state)
        change(state)
        return state

    return wrap


def wide(state):
    state["layer2.0.conv1.weight"] = state["layer2.0.conv1.weight"][:, :2]


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        (ResNet(), lambda s: s.pop("layer3.0.bn2.weight"), r"missing: layer3\.0\.bn2\.weight"),
        (ResNet(), wide, r"layer2\.0\.conv1\.weight is \(5, 2, 3, 3\).* Plain ResNets"),
        (
            ResNet(),
            lambda s: s.update({"layer1.0.se.weight": s["fc.bias"]}),
            r"not in the network: layer1\.0\.se\.weight",
        ),
        (ResNet(channels=4), lambda s: None, "takes 4 channels"),
        (ResNet(stem=3), lambda s: None, "stride of the first convolution.*no_max_pool"),
        (ViT(), lambda s: s.pop("blocks.1.attn.proj.bias"), r"missing: blocks\.1\.attn\.out_proj"),
        (ViT(), lambda s: s.update({"blocks.1.ls1.gamma": torch.ones(3)}), r"1\.ls1\.gamma"),
        (ViT(), lambda s: s.update({"dist_token": torch.ones(1, 1, 16)}), "dist_token"),
        (ViT(), lambda s: s.update(pos_embed=torch.ones(1, 8, 16)), "rows and columns of a slice"),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(tmp_path, network, change, message):
    path = saved(tmp_path / "weights.pth", randomised(network), changed(change))
    with pytest.raises(BadInput, match=message):
        load_checkpoint(path, HEADS if isinstance(network, ViT) else None)


def test_a_segmentation_network_is_not_a_backbone(tmp_path):
    def wrap(state):
        heads = {"classifier.0.weight": torch.ones(2, 7, 3, 3)}
        return {f"backbone.{k}": v for k, v in state.items() if "fc" not in k} | heads

    path = saved(tmp_path / "fcn.pth", randomised(ResNet()), wrap)
    assert detect_families(path) == []


def test_weights_of_3d_networks_are_not_of_slices(tmp_path):
    for key in ("conv1.weight", "patch_embed.proj.weight"):
        network = randomised(ResNet() if key == "conv1.weight" else ViT())

        def deeper(state, key=key):
            state[key] = state[key][:, :1, None].repeat(1, 1, state[key].shape[-1], 1, 1)

        path = saved(tmp_path / "weights.pth", network, changed(deeper))
        with pytest.raises(BadInput, match="does not know"):
            load_checkpoint(path, {"family": "slices"})


@pytest.mark.parametrize(
    "declared", [{"pooling": "median"}, {"slice_axes": "ZX"}, {"slice_axes": ""}]
)
def test_an_unknown_pooling_or_axis_is_a_message(tmp_path, declared):
    path = saved(tmp_path / "resnet.pth", randomised(ResNet()))
    with pytest.raises(BadInput, match=next(iter(declared))):
        load_checkpoint(path, declared)


@pytest.mark.parametrize("size", ["wide", [8], [8, 8, 8], 0, [0, 8], [-4, 8], 10**9])
@pytest.mark.parametrize("network", [ResNet(), ViT()], ids=["ResNet", "ViT"])
def test_an_impossible_size_of_slices_is_a_message(tmp_path, network, size):
    path = saved(tmp_path / "weights.pth", randomised(network))
    with pytest.raises(BadInput, match=r"weights\.pth"):
        load_checkpoint(
            path,
            {"network": {"num_heads": 4, "img_size": size}}
            if isinstance(network, ViT)
            else {"network": {"img_size": size}},
        )
