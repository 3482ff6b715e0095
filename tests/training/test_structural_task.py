"""The structural embedder: what is regressed, what views may do, that it learns, and resumes."""

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.loading import describe_checkpoint, load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.embedders.structural import StructuralEmbedder
from napari_memscan.errors import BadInput
from napari_memscan.training import DEFAULT_EMBEDDER
from napari_memscan.training.augmentation import Augmentation, deform_elastically
from napari_memscan.training.run import train
from napari_memscan.training.settings import (
    EMBEDDER_SETTINGS,
    StructuralSettings,
    get_settings_class,
)
from napari_memscan.training.structural_distance import compute_local_correlation
from napari_memscan.training.structural_task import StructuralTask, choose_working_shape
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

SHAPE = (16, 20, 16)
PREPROCESSING = Preprocessing(shape=SHAPE, intensity=MinMax())
SETTINGS = StructuralSettings(
    steps=10, batch=4, working_shape=(8, 10, 8), width=4, stages=2, cells=2, hidden=16, dim=8
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(n, shape=SHAPE, seed=0):
    cells = torch.rand(n, 1, 4, 4, 4, generator=seeded(seed))
    return torch.nn.functional.interpolate(cells, shape, mode="trilinear")


@pytest.fixture(scope="module")
def arrays():
    volumes = smooth(12)[:, 0].numpy()
    return {"training": volumes[:8], "validation": volumes[8:]}


def run(arrays, out, settings=SETTINGS):
    return list(train("embedder", arrays, out, settings, preprocessing=PREPROCESSING))


def test_views_keep_shape_and_range_and_follow_their_seed():
    batch = smooth(5)
    whole = Augmentation()
    view = whole.view(batch, seeded(1), SHAPE)
    assert view.shape == batch.shape
    assert 0 <= view.min() < view.max() <= 1
    assert torch.isfinite(view).all()
    assert torch.equal(view, whole.view(batch, seeded(1), SHAPE))
    assert not torch.allclose(view, whole.view(batch, seeded(2), SHAPE), atol=0.05)


def test_without_changes_a_view_is_its_volume():
    still = Augmentation((), 0, 0, 0, 0, 0, 1, 0).view(smooth(3), seeded(), SHAPE)
    torch.testing.assert_close(still, smooth(3), atol=1e-4, rtol=0)


def test_rotations_keep_distances_on_axes_of_unequal_length():
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (21, 41, 31)), indexing="ij"))
    centre = torch.tensor([10.0, 20.0, 15.0]).reshape(3, 1, 1, 1)
    spot = torch.tensor([10.0, 28.0, 15.0]).reshape(3, 1, 1, 1)
    blob = torch.exp(-0.5 * ((grid - spot) ** 2).sum(0) / 4)[None, None].repeat(6, 1, 1, 1, 1)
    views = Augmentation((), 40, 0, 0, 0, 0, 1, 0).view(blob, seeded(3), (21, 41, 31))
    for view in views[:, 0]:
        found = (view * (grid - centre)).flatten(1).sum(1) / view.sum()
        assert float(found.norm()) == pytest.approx(8, abs=0.3)
        assert float(found[1]) < 7.9


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_are_flips_of_their_axis(axis):
    batch = smooth(8)
    views = Augmentation((axis,), 0, 0, 0, 0, 0, 1, 0).view(batch, seeded(3), SHAPE)
    flipped = [
        torch.allclose(v, b.flip(axis + 1), atol=1e-3) for v, b in zip(views, batch, strict=True)
    ]
    still = [torch.allclose(v, b, atol=1e-3) for v, b in zip(views, batch, strict=True)]
    assert any(flipped)
    assert any(still)
    assert all(a or b for a, b in zip(flipped, still, strict=True))


def test_elastic_deforms_a_little_and_each_volume_otherwise():
    batch = smooth(1).repeat(3, 1, 1, 1, 1)
    near = deform_elastically(batch, seeded(1), 0.12)
    assert near.shape == batch.shape
    assert near.min() >= 0
    assert near.max() <= 1
    assert not torch.allclose(near[0], near[1], atol=1e-3)
    assert torch.equal(near, deform_elastically(batch, seeded(1), 0.12))
    tiny = deform_elastically(batch, seeded(1), 1e-5)
    torch.testing.assert_close(tiny, batch, atol=1e-3, rtol=0)


def test_likeness_is_one_for_the_same_at_any_flip_and_contrast_and_less_for_others():
    batch = smooth(6)
    values = compute_local_correlation(batch, batch)
    assert values.shape == (6, 6)
    torch.testing.assert_close(values.diagonal(), torch.ones(6), atol=1e-4, rtol=0)
    assert values.min() >= 0
    assert values.max() <= 1
    others = values[~torch.eye(6, dtype=torch.bool)]
    assert others.max() < 0.98
    for axes in ((2,), (3, 4), (2, 3, 4)):
        changed = 0.4 * batch.flip(axes) + 0.3
        torch.testing.assert_close(
            compute_local_correlation(batch, changed).diagonal(), torch.ones(6), atol=1e-3, rtol=0
        )
    near = compute_local_correlation(batch, deform_elastically(batch, seeded(1), 0.12)).diagonal()
    assert (near > others.mean()).all()
    assert (near < 0.9999).all()
    flat = compute_local_correlation(torch.full((1, 1, *SHAPE), 0.5), batch)
    assert torch.isfinite(flat).all()


def test_likeness_is_the_local_correlation_of_one_window():
    """Volumes of one window: Pearson's correlation with Gaussian weights, best of eight flips."""
    a, b = torch.rand(2, 1, 5, 5, 5, generator=seeded(2)).double().numpy()
    line = np.exp(-0.5 * ((np.arange(5) - 2) / 1.25) ** 2)
    w = line[:, None, None] * line[:, None] * line
    w /= w.sum()

    def weighted(x, y):
        x, y = x - (w * x).sum(), y - (w * y).sum()
        return (w * x * y).sum() / np.sqrt((w * x * x).sum() * (w * y * y).sum())

    axes = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    expected = max(0, *(weighted(a[0], np.flip(b[0], f)) for f in axes))
    found = compute_local_correlation(
        torch.from_numpy(a)[None].float(), torch.from_numpy(b)[None].float()
    )
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_gradients_reach_every_parameter(arrays):
    torch.manual_seed(0)
    task = StructuralTask(arrays, SETTINGS, PREPROCESSING)
    task.loss(task.network, task.data["training"], seeded()).backward()
    still = [n for n, p in task.network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_a_few_steps_reduce_the_loss(arrays, tmp_path):
    settings = SETTINGS.model_copy(update={"steps": 60, "batch": 8, "learning_rate": 5e-3})
    losses = [s.loss for s in run(arrays, tmp_path, settings)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_stopped_training_ends_with_the_same_weights(arrays, tmp_path):
    run(arrays, tmp_path / "whole")
    stopped = train("embedder", arrays, tmp_path / "s", SETTINGS, preprocessing=PREPROCESSING)
    for progress in stopped:
        if progress.step == 4:
            break
    stopped.close()
    assert run(arrays, tmp_path / "s")[0].step == 5
    whole, again = (load_weights(tmp_path / n, "embedder") for n in ("whole", "s"))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    assert whole["template"].any()


def test_the_checkpoint_is_an_embedder(arrays, tmp_path):
    run(arrays, tmp_path)
    recipe = read_recipe(tmp_path)
    assert (recipe.kind, recipe.working_shape, recipe.dim) == ("structural", (8, 10, 8), 8)
    embedder = load_embedder(tmp_path, "cpu")
    assert isinstance(embedder, StructuralEmbedder)
    assert describe_checkpoint(tmp_path).startswith(
        "structural embedder: 16 x 20 x 16 to 8 numbers"
    )


def test_kinds_and_settings_that_do_not_fit_are_messages(arrays, tmp_path):
    assert DEFAULT_EMBEDDER in EMBEDDER_SETTINGS
    assert get_settings_class("embedder") is EMBEDDER_SETTINGS[DEFAULT_EMBEDDER]
    assert get_settings_class("embedder", "structural") is StructuralSettings
    with pytest.raises(BadInput, match="kind 'deep': choose one of contrastive, structural"):
        get_settings_class("embedder", "deep")
    with pytest.raises(BadInput, match="a kind is for embedders"):
        get_settings_class("denoiser", "structural")
    with pytest.raises(BadInput, match="settings for denoiser must be DenoiserSettings"):
        list(train("denoiser", arrays, tmp_path, SETTINGS, preprocessing=PREPROCESSING))
    for changes, message in (
        ({"width": 6}, "width 6 must be a multiple of 4"),
        ({"stages": 6}, "too often for"),
        ({"working_shape": (4, 10, 8)}, "at least 5 voxels"),
        ({"working_shape": (8, 24, 8)}, "not larger than the volumes"),
    ):
        wrong = SETTINGS.model_copy(update=changes)
        with pytest.raises(BadInput, match=message):
            run(arrays, tmp_path / "wrong", wrong)


def test_the_working_shape_is_half_within_limits():
    assert choose_working_shape((32, 48, 32)) == (16, 24, 16)
    assert choose_working_shape((12, 256, 6)) == (8, 32, 6)
