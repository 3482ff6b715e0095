"""What the cache gives back is what was kept; what cannot be read is computed again."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from napari_memscan.errors import JobFailed
from napari_memscan.volumes.cache import ArrayCache, MemoryStore

ARRAYS = {
    "vector": np.arange(7, dtype=np.float32),
    "number": np.array(3.5),
    "bytes": np.frombuffer(b"abc", np.uint8),
    "nothing": np.empty((0, 4), np.float32),
    "fortran": np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
    "volume": np.random.default_rng(0).random((31, 32, 33)).astype(np.float32),
}


def fail():
    pytest.fail("computed again")


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_it_was_and_may_be_written_to(name, tmp_path):
    array = ARRAYS[name]
    ArrayCache(tmp_path).get("ab", lambda: array)
    back = ArrayCache(tmp_path).get("ab", fail)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.flags.f_contiguous == array.flags.f_contiguous
    np.testing.assert_array_equal(back, array)
    before = back.copy()
    back[...] = 1
    np.testing.assert_array_equal(ArrayCache(tmp_path).get("ab", fail), before)


@pytest.mark.parametrize("name", ["vector", "volume"])
def test_a_file_cut_off_anywhere_is_computed_again(name, tmp_path):
    cache, array = ArrayCache(tmp_path), ARRAYS[name]
    cache.get("ab", lambda: array)
    whole = cache.path("ab").read_bytes()
    for length in (0, 5, 9, 10, 40, 127, 128, len(whole) // 2, len(whole) - 1):
        cache.path("ab").write_bytes(whole[:length])
        np.testing.assert_array_equal(cache.get("ab", lambda: array), array)
        assert cache.path("ab").read_bytes() == whole


def test_a_file_of_something_else_is_computed_again(tmp_path):
    cache, array = ArrayCache(tmp_path), ARRAYS["vector"]
    cache.get("ab", lambda: array)
    whole = cache.path("ab").read_bytes()
    objects = io.BytesIO()
    np.save(objects, np.array([{}, None], object), allow_pickle=True)
    strange = [objects.getvalue(), b"x" * 200, b"\x00" * 200, b"GIF89a\x01\x00" * 30]
    strange += [whole.replace(b"'<f4'", b"'<q9'"), whole.replace(b"(7,)", b"(-7)")]
    for content in strange:
        cache.path("ab").write_bytes(content)
        np.testing.assert_array_equal(cache.get("ab", lambda: array), array)
        assert cache.path("ab").read_bytes() == whole


def test_what_is_put_takes_the_place_of_what_is_kept(tmp_path):
    cache = ArrayCache(tmp_path)
    for array in (ARRAYS["vector"], np.array([(b"ab", 1.5)], [("name", "S2"), ("value", "f8")])):
        cache.put("ab", array)
        np.testing.assert_array_equal(cache.get("ab", fail), array)


def test_a_volume_is_made_once_and_read_where_it_is_asked_for(tmp_path):
    cache = ArrayCache(tmp_path)
    load = pickle.loads(pickle.dumps(cache.open_volume("ab", lambda: ARRAYS["volume"])))
    np.testing.assert_array_equal(load(), ARRAYS["volume"])
    np.testing.assert_array_equal(cache.open_volume("ab", fail)(), ARRAYS["volume"])


def test_a_volume_found_damaged_is_named_and_then_made_anew(tmp_path):
    cache = ArrayCache(tmp_path)
    load = cache.open_volume("ab", lambda: ARRAYS["volume"])
    cache.path("ab").write_bytes(cache.path("ab").read_bytes()[:-100])
    with pytest.raises(JobFailed, match=r"ab\.npy: was damaged.*Start again") as caught:
        load()
    # It may be told by another process.
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    np.testing.assert_array_equal(
        cache.open_volume("ab", lambda: ARRAYS["volume"])(), ARRAYS["volume"]
    )


def test_in_memory_volumes_are_made_whenever_they_are_asked_for_and_numbers_once():
    store, made = MemoryStore(), []
    load = store.open_volume("ab", lambda: made.append(1) or ARRAYS["volume"])
    assert load() is load() is ARRAYS["volume"]
    assert len(made) == 2
    assert not store.has("ab")
    store.put("cd", ARRAYS["vector"])
    assert store.has("cd")
    assert store.get("cd", fail) is ARRAYS["vector"]
    assert store.get("ef", lambda: ARRAYS["number"]) is store.get("ef", fail)


def test_text_comes_back_as_it_was(tmp_path):
    cache = ArrayCache(tmp_path)
    for text in ("", "größer\nzwei"):
        assert cache.get_text(f"k{len(text)}", lambda text=text: text) == text
        assert cache.get_text(f"k{len(text)}", fail) == text
