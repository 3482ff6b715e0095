"""One registry for all families: what a path may be, and what it becomes."""

import shutil

import pytest
import torch

from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.loading import (
    FAMILIES,
    compute_checkpoint_hash,
    describe_checkpoint,
    detect_families,
    load_checkpoint,
    load_families,
    load_weights,
)
from napari_memscan.errors import BadInput


def test_every_family_has_a_module_of_its_name():
    assert list(load_families()) == list(FAMILIES)


def test_a_recipe_settles_it(tiny_ldm):
    (candidate,) = detect_families(tiny_ldm)
    assert (candidate.family, candidate.kind, candidate.score) == ("native", "ldm", 1.0)
    checkpoint = load_checkpoint(tiny_ldm, kind="ldm")
    assert set(checkpoint.parts) == {"autoencoder", "denoiser"}
    assert checkpoint.hash == compute_checkpoint_hash(tiny_ldm)
    assert checkpoint.report.facts[0].name == "scale_factor"
    assert set(checkpoint.report.hashes) == {"autoencoder", "denoiser"}
    assert describe_checkpoint(checkpoint).startswith("3D LDM: latent 3 x 8 x 8 x 8")


@pytest.mark.parametrize(
    ("kind", "message"), [("embedder", "this is a 3D latent diffusion model, but an embedder")]
)
def test_another_kind_than_wanted_is_refused(tiny_ldm, kind, message):
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tiny_ldm, kind=kind)
    assert load_checkpoint(tiny_ldm, kind="autoencoder").recipe.kind == "ldm"


def test_weights_nobody_knows_are_shown_by_their_names(tmp_path):
    torch.save({"state_dict": {"my.layer.weight": torch.ones(2)}}, tmp_path / "net.pt")
    with pytest.raises(BadInput, match=r"does not know \(net\.pt holds my\.layer\.weight"):
        load_checkpoint(tmp_path / "net.pt")
    found = inspect_checkpoint(tmp_path / "net.pt")
    assert found.checkpoint is None
    assert "does not know" in str(found.problem)
    assert found.as_dict()["what"] == "unknown"


def test_a_family_can_be_named_and_must_be_known(tiny_ldm):
    with pytest.raises(BadInput, match="family 'mine' is not known; known are native"):
        detect_families(tiny_ldm, {"family": "mine"})
    assert detect_families(tiny_ldm, {"family": "native"})


def test_an_inspection_says_all_for_people_and_for_scripts(tiny_ldm):
    found = inspect_checkpoint(tiny_ldm)
    text = "\n".join(found.lines())
    assert "read as data; nothing in it was run" in text
    assert "scale_factor: 1 (recipe.json)" in text
    value = found.as_dict()
    assert value["usable"]
    assert not value["ran_code"]
    assert value["checkpoint_hash"] == found.checkpoint.hash
    assert value["report"]["parts"]["denoiser"]["tensors"] > 10


def test_weights_that_are_all_zero_or_not_finite_are_refused(tiny_ldm, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_ldm, tmp_path / "ldm")
    file = folder / "denoiser.safetensors"
    tensors = load_file(file)
    save_file({k: torch.zeros_like(v) for k, v in tensors.items()}, file)
    with pytest.raises(BadInput, match="every weight is 0"):
        load_weights(folder, "denoiser")
    save_file({k: torch.full_like(v, torch.nan) for k, v in tensors.items()}, file)
    with pytest.raises(BadInput, match="NaN or infinity"):
        load_weights(folder, "denoiser")


def test_an_empty_folder_and_a_crowded_one(tmp_path):
    with pytest.raises(BadInput, match="neither weight files nor recipe"):
        load_checkpoint(tmp_path)
    for i in range(201):
        (tmp_path / f"{i}.pt").write_bytes(b"x")
    with pytest.raises(BadInput, match="more than 200"):
        load_checkpoint(tmp_path)
