"""Checkpoints come back as they were saved, and nothing in a weight file is ever run."""

import collections
import errno
import json
import random
from pathlib import Path

import pytest
import torch

from napari_memscan.checkpoints.loading import (
    compute_checkpoint_hash,
    describe_checkpoint,
    load_checkpoint,
    load_weights,
)
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, ContrastiveRecipe, LDMRecipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RECIPE = ContrastiveRecipe(
    input_shape=(16, 16, 16),
    working_shape=(8, 8, 8),
    downsample=(4, 4, 4),
    preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
)


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.bias": torch.randn(4, generator=generator),
        "count": torch.tensor([7]),
    }


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "embedder", RECIPE, {"embedder": tensors()})
    return tmp_path / "embedder"


def edit(folder, **changes):
    """Change fields of a recipe on disk; None removes one."""
    path = folder / "recipe.json"
    value = json.loads(path.read_text())
    for key, new in changes.items():
        value.pop(key) if new is None else value.update({key: new})
    path.write_text(json.dumps(value))


def plain(folder, value, name="weights.pt"):
    """Put a PyTorch file in the place of the safetensors file."""
    torch.save(value, folder / name)
    edit(folder, files={"embedder": name})
    return folder / name


def test_full_precision_comes_back_to_the_bit(folder):
    loaded = load_weights(folder, "embedder")
    assert loaded.keys() == tensors().keys()
    assert all(torch.equal(loaded[k], v) for k, v in tensors().items())
    assert read_recipe(folder) == RECIPE
    assert read_recipe(folder / "recipe.json") == RECIPE


def test_half_precision_is_smaller_and_comes_back_as_float32(folder, tmp_path):
    big = {"w": torch.randn(64, 64), "count": torch.tensor([7])}
    save_checkpoint(tmp_path / "full", RECIPE, {"embedder": big})
    save_checkpoint(tmp_path / "half", RECIPE, {"embedder": big}, half=True)
    size = {n: (tmp_path / n / "embedder.safetensors").stat().st_size for n in ("full", "half")}
    assert size["half"] < 0.6 * size["full"]
    loaded = load_weights(tmp_path / "half", "embedder")
    assert loaded["w"].dtype == torch.float32
    assert loaded["count"].dtype == torch.int64
    assert torch.equal(loaded["w"], big["w"].half().float())


def test_a_tensor_too_large_for_half_stays_whole(tmp_path):
    values = {"w": torch.tensor([1e6, 1.0])}
    save_checkpoint(tmp_path, RECIPE, {"embedder": values}, half=True)
    assert torch.equal(load_weights(tmp_path, "embedder")["w"], values["w"])


def test_views_and_shared_tensors_can_be_saved(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save_checkpoint(tmp_path, RECIPE, {"embedder": {"a": base, "b": base, "t": base.T}})
    assert torch.equal(load_weights(tmp_path, "embedder")["t"], base.T)


def test_saving_twice_gives_the_same_bytes_and_hash(folder, tmp_path):
    save_checkpoint(tmp_path / "again", RECIPE, {"embedder": tensors()})
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert compute_checkpoint_hash(folder) == compute_checkpoint_hash(tmp_path / "again")


def test_the_hash_changes_with_weights_and_with_recipe(folder, tmp_path):
    first = compute_checkpoint_hash(folder)
    other = tensors()
    other["a.bias"][0] += 1e-3
    save_checkpoint(tmp_path / "other", RECIPE, {"embedder": other})
    assert compute_checkpoint_hash(tmp_path / "other") != first
    save_checkpoint(
        tmp_path / "recipe", RECIPE.model_copy(update={"dim": 16}), {"embedder": tensors()}
    )
    assert compute_checkpoint_hash(tmp_path / "recipe") != first


def test_a_full_disk_leaves_no_checkpoint_and_says_so(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(JobFailed, match=r"embedder\.safetensors: the disk is full"):
        save_checkpoint(tmp_path, RECIPE, {"embedder": tensors()})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(JobFailed, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "model", RECIPE, {"embedder": tensors()})


# -- recipes


def test_missing_folder_file_and_recipe_are_told_apart(folder, tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        read_recipe(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="this is a file"):
        read_recipe(folder / "embedder.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no recipe\.json in this folder"):
        read_recipe(tmp_path / "empty")


@pytest.mark.parametrize(
    "text", ["", "not json", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\udcff"]
)
def test_what_is_not_json_is_a_message(folder, text):
    (folder / "recipe.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=r"recipe\.json: not a readable recipe"):
        read_recipe(folder)


def test_another_kind_is_named_with_what_is_needed(folder, tiny_ldm):
    with pytest.raises(
        BadInput, match="this is an embedder, but a 3D latent diffusion model is needed"
    ):
        load_checkpoint(folder, kind="ldm")
    with pytest.raises(
        BadInput, match="this is a 3D latent diffusion model, but an embedder is needed"
    ):
        load_checkpoint(tiny_ldm, kind="embedder")


def test_a_newer_format_asks_for_an_update(folder):
    edit(folder, format=3, something_new=1)
    with pytest.raises(BadInput, match=r"newer memscan \(format 3.*Update napari-memscan"):
        read_recipe(folder)


@pytest.mark.parametrize("value", [0, -1, "3", 3.0, "one"])
def test_a_format_that_never_was_is_refused(folder, value):
    edit(folder, format=value)
    with pytest.raises(BadInput, match="format"):
        read_recipe(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "vae"}, "kind|vae"),
        ({"kind": None}, "kind"),
        ({"working_shape": None}, "working_shape"),
        ({"working_shape": [8, 8]}, "working_shape"),
        ({"dimm": 32}, "dimm"),
        ({"dim": 1}, "dim"),
    ],
)
def test_a_field_that_does_not_fit_is_named(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(BadInput, match=rf"the recipe does not fit: .*({message})"):
        read_recipe(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_factor": float("inf")}, "scale_factor"),
        ({"scale_factor": 0}, "scale_factor"),
        ({"latent_shape": [3, 0, 8, 8]}, "latent_shape"),
        ({"spacing": [1, 0, 1]}, "spacing"),
        ({"steps": 2000}, r"steps \(2000\) exceed num_train_timesteps \(1000\)"),
        ({"sampler": "euler"}, "sampler"),
    ],
)
def test_an_ldm_recipe_that_cannot_be_sampled_is_refused(tiny_ldm, tmp_path, changes, message):
    (tmp_path / "recipe.json").write_bytes((tiny_ldm / "recipe.json").read_bytes())
    edit(tmp_path, **changes)
    with pytest.raises(BadInput, match=message):
        read_recipe(tmp_path)


def test_a_recipe_that_is_a_list_is_refused(folder):
    (folder / "recipe.json").write_text("[1, 2]")
    with pytest.raises(BadInput, match="the recipe does not fit"):
        read_recipe(folder)


# -- weights


def test_a_missing_weight_file_is_named(folder):
    (folder / "embedder.safetensors").unlink()
    with pytest.raises(BadInput, match=r"embedder\.safetensors: missing, though recipe\.json"):
        load_weights(folder, "embedder")
    with pytest.raises(BadInput, match="missing"):
        compute_checkpoint_hash(folder)


def test_a_part_the_recipe_does_not_name_is_a_message(folder):
    with pytest.raises(BadInput, match="names no weights for 'denoiser'"):
        load_weights(folder, "denoiser")


@pytest.mark.parametrize("name", ["../outside.safetensors", "{tmp}/outside.safetensors", "link"])
def test_weights_outside_the_folder_are_refused(folder, tmp_path, name):
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes((folder / "embedder.safetensors").read_bytes())
    if name == "link":
        (folder / "link").symlink_to(outside)
    edit(folder, files={"embedder": name.format(tmp=tmp_path)})
    with pytest.raises(BadInput, match="lies outside the checkpoint's folder"):
        load_weights(folder, "embedder")


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_truncated_safetensors_file_is_a_message(folder, keep):
    path = folder / "embedder.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"embedder\.safetensors: (not a wh|is empty|not a weight)"):
        load_weights(folder, "embedder")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value):
    weights = tensors()
    weights["a.bias"][1] = value
    save_checkpoint(folder, RECIPE, {"embedder": weights})
    with pytest.raises(BadInput, match=r"tensor 'a\.bias' holds NaN or infinity \(1 such"):
        load_weights(folder, "embedder")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_other_floats_are_read_as_float32(folder, dtype):
    weights = {"w": torch.tensor([1.5, -2.0]).to(dtype)}
    save_checkpoint(folder, RECIPE, {"embedder": weights})
    assert torch.equal(load_weights(folder, "embedder")["w"], torch.tensor([1.5, -2.0]))


@pytest.mark.parametrize("name", ["weights.pt", "weights.ckpt", "model"])
def test_a_plain_state_dict_is_read(folder, name):
    plain(folder, collections.OrderedDict(tensors()), name)
    loaded = load_weights(folder, "embedder")
    assert all(torch.equal(loaded[k], v) for k, v in tensors().items())


class Payload:
    """What a hostile file holds: an object that runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {**tensors(), "extra": p}])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_payload_is_refused_and_never_run(folder, tmp_path, wrap, zipped):
    marker = tmp_path / "marker"
    path = folder / "weights.pt"
    torch.save(wrap(Payload(marker)), path, _use_new_zipfile_serialization=zipped)
    edit(folder, files={"embedder": "weights.pt"})
    with pytest.raises(BadInput, match="refused") as caught:
        load_weights(folder, "embedder")
    assert not marker.exists()
    # The payload works: read the unsafe way, it would have run.
    torch.load(path, weights_only=False)
    assert marker.exists()
    # PyTorch's own message tells how to read it unsafely; ours must not.
    assert "weights_only" not in str(caught.value)
    assert "getattr" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        {"state_dict": {"w": torch.zeros(2)}},
        {"w": torch.zeros(2), "epoch": 3},
        {0: torch.zeros(2)},
        {"w": torch.zeros(2).to_sparse()},
    ],
)
def test_what_is_no_bare_state_dict_is_refused(folder, value):
    plain(folder, value)
    with pytest.raises(BadInput, match=r"A bare state dict is expected|is not a plain array"):
        load_weights(folder, "embedder")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_a_file_that_is_no_state_dict_is_a_message(folder, content):
    plain(folder, {}).write_bytes(content)
    with pytest.raises(
        BadInput,
        match=r"weights\.pt: (its list of tensors is damaged|is empty|not a weight file|a damaged)",
    ):
        load_weights(folder, "embedder")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_never_raise_anything_but_a_message(folder, zipped):
    path = plain(folder, {})
    torch.save(tensors(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    chance = random.Random(1)
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[: chance.randrange(len(whole))]
        else:
            for _ in range(chance.randrange(1, 5)):
                damaged[chance.randrange(min(len(whole), 600))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load_weights(folder, "embedder")
        except BadInput:
            refused += 1
    assert refused > 150


# -- describe


def test_each_kind_is_described_in_one_line(folder, tiny_ldm, tmp_path):
    ldm = read_recipe(tiny_ldm)
    assert isinstance(ldm, LDMRecipe)
    text = describe_checkpoint(tiny_ldm)
    assert text.startswith(
        "3D LDM: latent 3 x 8 x 8 x 8, v_prediction, DDIM 3 steps, volumes 16 x 16 x 16 ("
    )
    assert compute_checkpoint_hash(tiny_ldm)[:8] in text
    assert describe_checkpoint(folder).startswith(
        "contrastive embedder: 16 x 16 x 16 to 32 numbers"
    )
    alone = AutoencoderRecipe(autoencoder=ldm.autoencoder, preprocessing=ldm.preprocessing)
    save_checkpoint(tmp_path, alone, {"autoencoder": load_weights(tiny_ldm, "autoencoder")})
    assert describe_checkpoint(tmp_path).startswith(
        "autoencoder alone: volumes 16 x 16 x 16; not an LDM yet"
    )
    assert "\n" not in text
