"""Embedders besides the default, from the command line: trained by kind, and 2D weights."""

import json

import pytest
import torch
from typer.testing import CliRunner

from napari_memscan.checkpoints.backbone_networks import build_backbone
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli import app
from napari_memscan.study import Study


def memscan(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    crash = result.exception if not isinstance(result.exception, SystemExit) else None
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}\n{crash!r}"
    return result


def test_train_a_structural_embedder_and_the_study_uses_it(make_study, tmp_path):
    study = make_study(tmp_path / "study", generator=None)
    train = ["train", "embedder", study.folder, "--kind", "structural", "--steps", 2]
    tiny = {"working_shape": "[8,8,8]", "width": 4, "stages": 2, "cells": 2, "hidden": 16, "dim": 8}
    tiny["batch"] = 4
    settings = [text for key, value in tiny.items() for text in ("--set", f"{key}={value}")]
    result = memscan(*train, *settings, "--device", "cpu")
    folder = study.folder / "models" / "embedder"
    assert f"{folder}: structural embedder: 16 x 16 x 16 to 8 numbers" in result.stdout
    assert "embedder: 2 of 2" in result.stderr
    recipe = read_recipe(folder)
    assert (recipe.kind, recipe.working_shape, recipe.width) == ("structural", (8, 8, 8), 4)
    used = Study.open(study.folder)
    assert used.config.embedder == "models/embedder"
    assert used.embedder().dim == 8
    assert (
        "n_hiddens"
        in memscan(*train, "--set", "n_hiddens=4", "--out", tmp_path / "e", code=2).stderr
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    network = build_backbone(
        "ResNet",
        {
            "block": "basic",
            "layers": [1, 1, 1, 1],
            "block_inplanes": [4, 4, 6, 6],
            "n_input_channels": 3,
            "conv1_t_stride": 2,
            "feed_forward": False,
            "bias_downsample": False,
        },
        channels=3,
        dimensions=2,
    )
    random = torch.Generator().manual_seed(0)
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = 0.2 * torch.randn(value.shape, generator=random)
        if name.endswith("running_var"):
            state[name] = 0.5 + state[name].abs()
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(state | {"fc.weight": torch.ones(2, 6), "fc.bias": torch.ones(2)}, path)
    return path


def test_2d_weights_are_checked_converted_and_embed_a_study(make_study, weights, tmp_path):
    study = make_study(tmp_path / "study")
    out = memscan("check", weights, "--study", study.folder).stdout
    assert "embedder, slices along Z through a 2D ResNet, mean+std over slices" in out
    assert "a 2D ResNet-10" in out
    assert "ImageNet's mean and std" in out
    assert f"fits the study {study.folder}" in out

    own = tmp_path / "own"
    memscan("convert", weights, own, "--set", "pooling=gem", "--set", "slice_axes=XYZ")
    recipe = json.loads((own / "recipe.json").read_text())
    assert (recipe["kind"], recipe["pooling"], recipe["slice_axes"]) == ("slices", "gem", "XYZ")
    assert "slices along X, Y, Z" in memscan("check", own).stdout

    used = make_study(tmp_path / "used", embedder=str(own))
    assert "vectors of 14 volumes" in memscan("embed", used.folder).stdout
    name = "2D ResNet over slices along X, Y, Z, gem, 18 features"
    assert Study.open(used.folder).embedder().name == name
    stated = make_study(
        tmp_path / "stated", embedder=str(weights), embedder_declared={"pooling": "max"}
    )
    assert "vectors of 14 volumes" in memscan("embed", stated.folder).stdout
    name = "2D ResNet over slices along Z, max, 6 features"
    assert Study.open(stated.folder).embedder().name == name
    stderr = memscan("check", weights, "--set", "pooling=median", code=2).stderr
    assert "pooling" in stderr
    assert "Traceback" not in stderr
