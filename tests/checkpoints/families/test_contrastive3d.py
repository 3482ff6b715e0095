"""The embedder of Dar et al. 2023 from the bare file that its authors save, without extension."""

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.families.contrastive3d import list_state_shapes
from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder, scale_to_unit
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput

SMALL = {"shape": (32, 16, 8), "axes": "SRA"}
"""Along X, Y, Z: the network sees 8 x 32 x 16 and ends in 4 x 4 x 4."""

MRNET = """
encoder.conv_first.conv.weight 16 1 3 3 3
encoder.conv_first.conv.bias 16
encoder.conv_blocks.0.down.conv.weight 32 16 4 4 4
encoder.conv_blocks.0.down.conv.bias 32
encoder.conv_blocks.0.res.norm1.weight 32
encoder.conv_blocks.0.res.norm1.bias 32
encoder.conv_blocks.0.res.conv1.conv.weight 32 32 3 3 3
encoder.conv_blocks.0.res.conv1.conv.bias 32
encoder.conv_blocks.0.res.norm2.weight 32
encoder.conv_blocks.0.res.norm2.bias 32
encoder.conv_blocks.0.res.conv2.conv.weight 32 32 3 3 3
encoder.conv_blocks.0.res.conv2.conv.bias 32
encoder.conv_blocks.1.down.conv.weight 64 32 4 4 4
encoder.conv_blocks.1.down.conv.bias 64
encoder.conv_blocks.1.res.norm1.weight 64
encoder.conv_blocks.1.res.norm1.bias 64
encoder.conv_blocks.1.res.conv1.conv.weight 64 64 3 3 3
encoder.conv_blocks.1.res.conv1.conv.bias 64
encoder.conv_blocks.1.res.norm2.weight 64
encoder.conv_blocks.1.res.norm2.bias 64
encoder.conv_blocks.1.res.conv2.conv.weight 64 64 3 3 3
encoder.conv_blocks.1.res.conv2.conv.bias 64
encoder.conv_blocks.2.down.conv.weight 128 64 4 4 4
encoder.conv_blocks.2.down.conv.bias 128
encoder.conv_blocks.2.res.norm1.weight 128
encoder.conv_blocks.2.res.norm1.bias 128
encoder.conv_blocks.2.res.conv1.conv.weight 128 128 3 3 3
encoder.conv_blocks.2.res.conv1.conv.bias 128
encoder.conv_blocks.2.res.norm2.weight 128
encoder.conv_blocks.2.res.norm2.bias 128
encoder.conv_blocks.2.res.conv2.conv.weight 128 128 3 3 3
encoder.conv_blocks.2.res.conv2.conv.bias 128
encoder.conv_blocks.3.down.conv.weight 256 128 4 4 4
encoder.conv_blocks.3.down.conv.bias 256
encoder.conv_blocks.3.res.norm1.weight 256
encoder.conv_blocks.3.res.norm1.bias 256
encoder.conv_blocks.3.res.conv1.conv.weight 256 256 3 3 3
encoder.conv_blocks.3.res.conv1.conv.bias 256
encoder.conv_blocks.3.res.norm2.weight 256
encoder.conv_blocks.3.res.norm2.bias 256
encoder.conv_blocks.3.res.conv2.conv.weight 256 256 3 3 3
encoder.conv_blocks.3.res.conv2.conv.bias 256
encoder.conv_blocks.4.down.conv.weight 512 256 4 4 4
encoder.conv_blocks.4.down.conv.bias 512
encoder.conv_blocks.4.res.norm1.weight 512
encoder.conv_blocks.4.res.norm1.bias 512
encoder.conv_blocks.4.res.conv1.conv.weight 512 512 3 3 3
encoder.conv_blocks.4.res.conv1.conv.bias 512
encoder.conv_blocks.4.res.norm2.weight 512
encoder.conv_blocks.4.res.norm2.bias 512
encoder.conv_blocks.4.res.conv2.conv.weight 512 512 3 3 3
encoder.conv_blocks.4.res.conv2.conv.bias 512
encoder.conv_blocks.5.down.conv.weight 1024 512 4 4 4
encoder.conv_blocks.5.down.conv.bias 1024
encoder.conv_blocks.5.res.norm1.weight 1024
encoder.conv_blocks.5.res.norm1.bias 1024
encoder.conv_blocks.5.res.conv1.conv.weight 1024 1024 3 3 3
encoder.conv_blocks.5.res.conv1.conv.bias 1024
encoder.conv_blocks.5.res.norm2.weight 1024
encoder.conv_blocks.5.res.norm2.bias 1024
encoder.conv_blocks.5.res.conv2.conv.weight 1024 1024 3 3 3
encoder.conv_blocks.5.res.conv2.conv.bias 1024
encoder.final_block.0.weight 1024
encoder.final_block.0.bias 1024
conv3D.conv.weight 8 1024 1 1 1
conv3D.conv.bias 8
dense.1.weight 128 512
dense.1.bias 128
dense.4.weight 32 128
dense.4.bias 32
sup_layer.1.weight 1 32
sup_layer.1.bias 1
"""
PUBLISHED = {
    name: tuple(map(int, shape)) for name, *shape in map(str.split, MRNET.strip().splitlines())
}


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=random)
        state[name] = 0.1 * noise + 0.1 if value.ndim == 1 else 0.1 * noise
    network.load_state_dict(state)
    return network.eval()


def small():
    return randomised(ContrastiveEncoder(4, (2, 8, 4), (8, 32, 16), 6))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A bare state dict in a file without an extension."""
    path = tmp_path_factory.mktemp("exp") / "model_500"
    torch.save(small().state_dict(), path)
    return path


def volume(seed=0):
    return np.random.default_rng(seed).random((32, 16, 8)).astype(np.float32)


def test_the_published_names_and_shapes():
    assert len(PUBLISHED) == 72
    assert list_state_shapes(16, 6, 64, 32) == PUBLISHED
    with torch.device("meta"):
        networks = {
            "mrnet": ContrastiveEncoder(16, (8, 64, 64), (32, 256, 256)),
            "pccta": ContrastiveEncoder(16, (16, 16, 16), (64, 64, 64)),
        }
    own = {name: tuple(v.shape) for name, v in networks["mrnet"].state_dict().items()}
    assert own == PUBLISHED
    assert sum(p.numel() for p in networks["mrnet"].parameters()) == 120_301_993
    own = {name: tuple(v.shape) for name, v in networks["pccta"].state_dict().items()}
    assert own == list_state_shapes(16, 4, 64, 32)
    assert len(own) == 52
    vector = networks["mrnet"].eval()(torch.zeros(1, 1, 32, 256, 256, device="meta"))
    assert vector.shape == (1, 32)


@pytest.mark.parametrize(
    ("blocks", "name", "shape", "working", "downsample"),
    [
        (6, "mrnet", (256, 256, 32), (32, 256, 256), (8, 64, 64)),
        (4, "pccta", (64, 64, 64), (64, 64, 64), (16, 16, 16)),
    ],
)
def test_the_variant_is_known_by_the_number_of_blocks(
    tmp_path, blocks, name, shape, working, downsample
):
    """At the published depth, with one channel in the place of 16."""
    tensors = {k: torch.ones(shape) for k, shape in list_state_shapes(1, blocks, 64, 32).items()}
    torch.save(tensors, tmp_path / "model")
    best = detect_families(tmp_path / "model")[0]
    assert (best.family, best.kind, best.missing) == ("contrastive3d", "embedder", ())
    assert best.reasons[0].startswith(f"{12 + 10 * blocks} tensors, {blocks} blocks: {name}")
    checkpoint = load_checkpoint(tmp_path / "model", kind="embedder")
    recipe = checkpoint.recipe
    assert recipe.input_shape == recipe.preprocessing.shape == shape
    assert (recipe.working_shape, recipe.downsample) == (working, downsample)
    assert (recipe.axes, recipe.n_hiddens, recipe.dim) == ("SRA", 1, 32)
    assert recipe.preprocessing.intensity.rule == "minmax"
    facts = {fact.name: fact.origin for fact in checkpoint.report.facts}
    assert facts["shape"].startswith(f"the family's default: {name}")
    network = ContrastiveEncoder(1, recipe.downsample, recipe.working_shape, recipe.dim)
    network.load_state_dict(checkpoint.weights("embedder"), strict=True)


def test_vectors_are_the_networks(saved):
    candidates = detect_families(saved, SMALL)
    assert [c.family for c in candidates] == ["contrastive3d"]
    embedder = load_embedder(saved, "cpu", SMALL)
    assert embedder.recipe.working_shape == (8, 32, 16)
    assert embedder.recipe.downsample == (2, 8, 4)
    for seed in (0, 1):
        depth_first = np.moveaxis(volume(seed), 2, 0).copy()
        with torch.no_grad():
            expected = small()(scale_to_unit(torch.from_numpy(depth_first)[None, None]))[0]
        found = embedder.embed(volume(seed)[None, None])[0]
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(found - embedder.embed(volume(0)[None, None])[0]).max() > 1e-4


def test_a_depth_that_was_not_published_needs_its_shape(saved):
    with pytest.raises(BadInput, match="Missing: shape: voxels along X, Y, Z"):
        load_checkpoint(saved)
    assert str(detect_families(saved)[0].missing[0]).startswith("shape: ")


@pytest.mark.parametrize(
    "declared",
    [
        {"shape": (32, 16, 12), "axes": "SRA"},  # 12 / 4 is no power of two
        {"shape": (16, 16, 16), "axes": "SRA"},  # two blocks would do
        {"shape": (64, 16, 8), "axes": "SRA"},  # four blocks would be needed
        {"shape": (32, 16, 10), "axes": "SRA"},
    ],
)
def test_a_shape_that_does_not_end_in_the_cells_is_refused(saved, declared):
    with pytest.raises(BadInput, match="do not end in 4 x 4 x 4 cells after 3 blocks"):
        load_checkpoint(saved, declared)


def test_converted_it_gives_the_same_vector_and_recipe(saved, tmp_path):
    checkpoint = load_checkpoint(saved, SMALL)
    save_checkpoint(
        tmp_path / "own", checkpoint.recipe, {"embedder": checkpoint.weights("embedder")}
    )
    native = load_embedder(tmp_path / "own", "cpu")
    assert native.recipe == checkpoint.recipe
    assert native.embed(volume()[None, None]).tobytes() == (
        load_embedder(saved, "cpu", SMALL).embed(volume()[None, None]).tobytes()
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dense.1.weight", torch.ones(128, 256), "has 32 cells"),
        (
            "encoder.conv_blocks.1.down.conv.weight",
            torch.ones(16, 8, 3, 3, 3),
            r"down\.conv\.weight is \(16, 8, 3, 3, 3\), expected \(16, 8, 4, 4, 4\)",
        ),
        ("sup_layer.1.bias", None, r"missing: sup_layer\.1\.bias"),
        ("encoder.conv_blocks.1.res.norm3.bias", torch.ones(2), "not in the network: "),
        ("encoder.conv_first.conv.weight", torch.ones(4, 3, 3, 3, 3), "expected"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, value, message):
    state = dict(small().state_dict())
    state[name] = value
    if value is None:
        del state[name]
    torch.save(state, tmp_path / "model")
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "model", SMALL)


def test_a_truncated_file_is_refused(saved, tmp_path):
    data = saved.read_bytes()
    (tmp_path / "model").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="model: "):
        detect_families(tmp_path / "model")
