"""State dicts are found wherever a file keeps them, and every step to our names is counted."""

import pytest
import torch

from napari_memscan.checkpoints.state_dicts import (
    StateDict,
    find_states,
    sort_states,
    strip_prefixes,
)
from napari_memscan.errors import BadInput

ONE = torch.ones(2)


def test_bare_nested_and_averaged_states_are_all_found():
    content = {
        "epoch": 3,
        "model": {"module.a.weight": ONE, "module.a.bias": ONE},
        "ema": {"decay": 0.9, "shadow": {"a.weight": 2 * ONE}},
        "optimizer": {"state": {0: {"exp_avg": ONE}}},
    }
    states = find_states(content)
    assert [s.where for s in states] == ["model", "ema.shadow", "optimizer.state.0"]
    assert states[0].prefix == "module."
    assert set(states[0].tensors) == {"a.weight", "a.bias"}
    assert sort_states(states, "ema.shadow", "model")[0].where == "ema.shadow"


def test_a_bare_state_dict_has_no_place_and_a_lone_number_is_no_network():
    (state,) = find_states({"w": ONE, "epoch": 3})
    assert (state.where, list(state.tensors)) == ("", ["w"])
    content = {"unet_state_dict": {"w": ONE}, "scale_factor": torch.tensor(0.9)}
    assert [s.where for s in find_states(content)] == ["unet_state_dict"]


def test_only_what_stands_before_every_name_is_taken_off():
    mixed = StateDict({"module.a": ONE, "b": ONE})
    assert strip_prefixes(mixed).prefix == ""
    wrapped = StateDict({"_orig_mod.module.a": ONE, "_orig_mod.module.b": ONE})
    assert strip_prefixes(wrapped).prefix == "_orig_mod.module."
    assert set(strip_prefixes(wrapped).tensors) == {"a", "b"}


def test_renaming_counts_and_never_merges():
    state = StateDict({"x.0.w": ONE, "y.w": ONE})
    renamed = state.rename([(r"^x\.0\.", "x.one.")])
    assert (set(renamed.tensors), renamed.renamed) == ({"x.one.w", "y.w"}, 1)
    with pytest.raises(BadInput, match=r"both become 'y\.w'"):
        state.rename([(r"^x\.0\.", "y.")])


def test_what_is_left_out_is_listed():
    state = StateDict({"a": ONE, "b": ONE}).without(["b", "not there"])
    assert (list(state.tensors), state.unused) == (["a"], ["b"])
    part = StateDict({"net.a": ONE, "other.b": ONE}).below("net.")
    assert (list(part.tensors), part.prefix) == (["a"], "net.")
    assert part.has("a")
    assert not part.has("a", "b")
    assert part.shape("a") == (2,)
    assert part.shape("b") == ()
