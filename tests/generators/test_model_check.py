"""A model that loads is asked whether it works, before anybody waits for volumes."""

import shutil

import pytest
import torch

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe, save_checkpoint
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.model_check import check_model, require_passed


def changed(tiny_ldm, folder, part, change, **recipe):
    """Return a generator over the tiny LDM with one part's tensors changed."""
    shutil.copytree(tiny_ldm, folder)
    weights = {p: load_weights(tiny_ldm, p) for p in ("autoencoder", "denoiser")}
    weights[part] = {k: change(k, v) for k, v in weights[part].items()}
    save_checkpoint(folder, read_recipe(tiny_ldm).model_copy(update=recipe), weights)
    return LDMGenerator(folder, "cpu")


def test_a_model_that_works_passes(tiny_ldm):
    checks = check_model(LDMGenerator(tiny_ldm, "cpu"))
    assert [c.name for c in checks if c.fatal and not c.passed] == []
    assert {"finite", "seeds differ", "repeats", "decodes", "range"} <= {c.name for c in checks}


def test_an_untrained_denoiser_predicts_zeros_and_is_refused(tiny_ldm, tmp_path):
    # As MONAI leaves it: its last convolution starts at zero.
    zeros = lambda k, v: torch.zeros_like(v) if k.startswith("out.2.") else v  # noqa: E731
    checks = check_model(changed(tiny_ldm, tmp_path / "m", "denoiser", zeros))
    assert "not constant" in {c.name for c in checks if not c.passed}
    with pytest.raises(
        BadInput, match=r"m: the model loads but does not work.*predicts only zeros"
    ):
        require_passed(checks, "m")


def test_a_decoder_that_overflows_is_refused(tiny_ldm, tmp_path):
    huge = lambda k, v: v * 1e30 if k.startswith("decoder") else v  # noqa: E731
    checks = check_model(changed(tiny_ldm, tmp_path / "m", "autoencoder", huge))
    assert "decodes" in {c.name for c in checks if not c.passed}
    with pytest.raises(BadInput, match="does not work"):
        require_passed(checks, "m")


def test_a_range_far_from_the_declared_one_is_a_warning(tiny_ldm, tmp_path):
    same = lambda k, v: v  # noqa: E731
    far = changed(tiny_ldm, tmp_path / "m", "denoiser", same, decoded_range=(0.0, 1e-6))
    (warning,) = require_passed(check_model(far), "m")
    assert "declared 0 ... 1e-06" in warning
    unknown = changed(tiny_ldm, tmp_path / "n", "denoiser", same, decoded_range=None)
    checks = check_model(unknown)
    assert require_passed(checks, "n") == []
    assert "not known" in next(c.text for c in checks if c.name == "range")
