"""Preprocessing is what its recipe says, for real and synthetic volumes alike; the cache heals."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from napari_memscan.errors import BadInput
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing, Window
from napari_memscan.volumes.volume import Volume


def ramp(shape=(6, 6, 6)):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_windows_are_fixed_and_clipped():
    recipe = Preprocessing(shape=(6, 6, 6), intensity=Window(low=15, high=115))
    result = recipe.apply(Volume(ramp()))
    np.testing.assert_allclose(result, np.clip((ramp() - 15) / 100, 0, 1), rtol=1e-6)
    assert result.dtype == np.float32


def test_percentiles_are_of_the_whole_volume_before_cropping():
    recipe = Preprocessing(shape=(4, 4, 4), intensity=Percentile(low=10, high=90))
    low, high = np.percentile(ramp(), [10, 90])
    expected = np.clip((ramp() - low) / (high - low), 0, 1)[1:5, 1:5, 1:5]
    np.testing.assert_allclose(recipe.apply(Volume(ramp())), expected, atol=1e-6)


def test_intensity_scale_of_the_scanner_does_not_count():
    for intensity in (Percentile(), MinMax()):
        recipe = Preprocessing(shape=(6, 6, 6), intensity=intensity)
        a, b = recipe.apply(Volume(ramp())), recipe.apply(Volume(ramp() * 1e4 + 77))
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_padding_is_zero_and_centred():
    recipe = Preprocessing(shape=(8, 4, 6), intensity=MinMax())
    result = recipe.apply(Volume(ramp() + 1))
    assert result.shape == (8, 4, 6)
    assert (result[0] == 0).all()
    assert (result[-1] == 0).all()
    np.testing.assert_allclose(result[1:7], (ramp() / 215)[:, 1:5], atol=1e-6)


def test_resampling_keeps_extent_and_values():
    x = np.linspace(0, 1, 10, dtype=np.float32)[:, None, None] * np.ones((1, 10, 10), np.float32)
    recipe = Preprocessing(shape=(20, 10, 5), spacing=(1, 2, 4), intensity=MinMax())
    result = recipe.apply(Volume(x, (2.0, 2.0, 2.0)))
    assert result.shape == (20, 10, 5)
    assert np.corrcoef(result[:, 5, 2], np.linspace(0, 1, 20))[0, 1] > 0.99
    with pytest.raises(BadInput, match="voxel size is unknown"):
        recipe.apply(Volume(x))
    same = Preprocessing(shape=(10, 10, 10), spacing=(2, 2, 2), intensity=MinMax())
    np.testing.assert_allclose(same.apply(Volume(x, (2.0, 2.0, 2.0))), x, atol=1e-6)


def test_nothing_to_compare_is_a_message():
    recipe = Preprocessing(shape=(6, 6, 6), intensity=MinMax())
    with pytest.raises(BadInput, match="same value"):
        recipe.apply(Volume(np.ones((6, 6, 6), np.float32)))
    with pytest.raises(BadInput, match="NaN"):
        recipe.apply(Volume(np.where(ramp() == 5, np.nan, ramp())))
    with pytest.raises(BadInput, match="3D"):
        recipe.apply(Volume(np.ones((6, 6), np.float32)))
    spike = np.zeros((6, 6, 6), np.float32)
    spike[3, 3, 3] = 1
    with pytest.raises(BadInput, match="same value"):
        Preprocessing(shape=(6, 6, 6), intensity=Percentile()).apply(Volume(spike))


def test_hash_follows_the_recipe():
    hashes = {
        Preprocessing(shape=shape, spacing=spacing, intensity=intensity).hash
        for shape in ((6, 6, 6), (6, 6, 8))
        for spacing in (None, (1, 1, 1))
        for intensity in (MinMax(), Percentile(), Percentile(low=2), Window(low=0, high=1))
    }
    assert len(hashes) == 16
    again = Preprocessing(shape=(6, 6, 6), intensity=MinMax())
    assert Preprocessing.model_validate_json(again.model_dump_json()).hash == again.hash


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 4, 4), "intensity": {"rule": "minmax"}},
        {"shape": (4, 4, 4), "intensity": {"rule": "window", "low": 3, "high": 3}},
        {"shape": (4, 4, 4), "intensity": {"rule": "percentile", "low": 60, "high": 40}},
        {"shape": (4, 4, 4), "intensity": {"rule": "minmax"}, "blur": 1},
        {"shape": (4, 4, 4), "intensity": {"rule": "window", "low": float("-inf"), "high": 3}},
        {"shape": (4, 4, 4), "spacing": (float("inf"), 1, 1), "intensity": {"rule": "minmax"}},
        {"shape": (4, 4, 4), "spacing": (0, 1, 1), "intensity": {"rule": "minmax"}},
    ],
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValidationError):
        Preprocessing.model_validate(wrong)


def test_cache_computes_once_and_heals(tmp_path):
    cache, calls = ArrayCache(tmp_path / "cache"), []

    def compute():
        calls.append(1)
        return np.arange(5, dtype=np.float32)

    assert not cache.has("ab12")
    for _ in range(3):
        np.testing.assert_array_equal(cache.get("ab12", compute), np.arange(5))
    assert cache.has("ab12")
    assert len(calls) == 1
    file = next((tmp_path / "cache").rglob("*.npy"))
    for damage in (b"", file.read_bytes()[:-3], b"no array"):
        file.write_bytes(damage)
        np.testing.assert_array_equal(cache.get("ab12", compute), np.arange(5))
    assert len(calls) == 4
    assert [p.name for p in (tmp_path / "cache").rglob("*.npy")] == ["ab12.npy"]


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ArrayCache(tmp_path).get("ab", fail)
    assert not list(tmp_path.rglob("*"))


def test_a_volume_smaller_than_one_new_voxel_is_a_message():
    recipe = Preprocessing(shape=(6, 6, 6), spacing=(100, 1, 1), intensity=MinMax())
    with pytest.raises(BadInput, match="smaller than one voxel"):
        recipe.apply(Volume(ramp(), (1.0, 1.0, 1.0)))


def test_the_hash_says_which_version_of_the_arithmetic(monkeypatch):
    recipe = Preprocessing(shape=(6, 6, 6), intensity=MinMax())
    before = recipe.hash
    monkeypatch.setattr("napari_memscan.volumes.preprocessing.VERSION", 999)
    assert recipe.hash != before
