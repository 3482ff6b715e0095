"""A bundle that needs its own scripts: works when trusted, else nothing of it is run."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.trusted.child_recipe import build_bundle_recipe
from napari_memscan.checkpoints.trusted.serve_bundle import BundleModel, _read_scheduler_settings
from napari_memscan.checkpoints.trusted.trust_check import needs_trust
from napari_memscan.checkpoints.trusted.wire import ModelRefused
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample

SCRIPT = """
from pathlib import Path
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
(Path(__file__).parents[1] / "ran").touch()

class OurAutoencoder(AutoencoderKL):
    pass

class OurUNet(DiffusionModelUNet):
    pass
"""

SCHEDULER = {
    "_target_": "monai.networks.schedulers.DDIMScheduler",
    "num_train_timesteps": 1000,
    "schedule": "scaled_linear_beta",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}

DECLARED = {
    "scale_factor": 1.0,
    "steps": 3,
    "decoded_range": (0, 1),
    "intensity": {"rule": "window", "low": -300, "high": 900},
}


@pytest.fixture
def bundle(tiny_ldm, tmp_path):
    from napari_memscan.checkpoints.loading import load_weights
    from napari_memscan.checkpoints.native_format import read_recipe

    recipe = read_recipe(tiny_ldm)
    root = tmp_path / "bundle"
    for name in ("configs", "models", "scripts"):
        (root / name).mkdir(parents=True)
    (root / "scripts" / "__init__.py").write_text("")
    (root / "scripts" / "nets.py").write_text(SCRIPT)
    for part in ("autoencoder", "denoiser"):
        torch.save(load_weights(tiny_ldm, part), root / "models" / f"{part}.pt")
    config = {
        "imports": ["$import glob"],
        "bundle_root": "/somewhere/else",
        "device": "$torch.device('cuda:0')",
        "latent_shape": [3, 8, 8, 8],
        "spacing": [0.6, 0.6, 0.6],
        "autoencoder_def": {"_target_": "scripts.nets.OurAutoencoder", **recipe.autoencoder},
        "network_def": {"_target_": "scripts.nets.OurUNet", **recipe.denoiser},
        "load_autoencoder_path": "$@bundle_root + '/models/autoencoder.pt'",
        "load_autoencoder": "$@autoencoder_def.load_state_dict("
        "torch.load(@load_autoencoder_path, weights_only=True))",
        "load_diffusion": "$@network_def.load_state_dict("
        "torch.load(glob.glob(@bundle_root + '/models/den*.pt')[0], weights_only=True))",
        "autoencoder": "$@autoencoder_def.to(@device)",
        "diffusion": "$@network_def.to(@device)",
        "noise_scheduler": {**SCHEDULER, "_requires_": ["@load_diffusion"]},
    }
    write(root, config)
    return root


def write(root, config):
    (root / "configs" / "inference.json").write_text(json.dumps(config))


def changed(root, **changes):
    config = json.loads((root / "configs" / "inference.json").read_text()) | changes
    write(root, {key: value for key, value in config.items() if value is not None})


def volume(generator):
    drawn = generator.generate([3], batch=1, precision="float32", memory="contiguous")
    return next(s for s in drawn if isinstance(s, GeneratedSample)).volume


def test_refused_without_trust_and_nothing_runs(bundle):
    for path in (bundle, bundle / "configs" / "inference.json"):
        assert "needs code of its bundle" in needs_trust(path)
        with pytest.raises(BadInput, match="OurAutoencoder"):
            LDMGenerator(path, "cpu", DECLARED)
    assert not (bundle / "ran").exists()


def test_same_volume_as_the_native_path(bundle, tiny_ldm):
    generator = LDMGenerator(bundle, "cpu", DECLARED, trust=True)
    assert (bundle / "ran").exists()
    native = LDMGenerator(tiny_ldm, "cpu")
    assert generator.recipe.scheduler == native.recipe.scheduler
    assert generator.recipe.preprocessing.shape == (16, 16, 16)
    made, wanted = volume(generator), volume(native)
    assert wanted.data.std() > 1
    assert np.allclose(made.data, wanted.data, rtol=0, atol=1e-5 * 1200)
    assert made.spacing == wanted.spacing
    assert generator.report.trusted
    assert "latent_shape: 3 x 8 x 8 x 8 (the bundle)" in generator.report.lines()
    assert "scripts/nets.py" in generator.report.hashes
    assert "models/denoiser.pt" in generator.report.hashes
    assert not [name for name in generator.report.hashes if "pycache" in name]
    generator.model.close()


def built_here(bundle, monkeypatch):
    """Build what the child would, in this process, from MONAI's own classes."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    for key, name in (("autoencoder_def", "AutoencoderKL"), ("network_def", "DiffusionModelUNet")):
        changed(bundle, **{key: config[key] | {"_target_": f"monai.networks.nets.{name}"}})
    return BundleModel(str(bundle / "configs" / "inference.json"), "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load_autoencoder": None}, "builds the autoencoder, but loads no weights"),
        (
            {"load_diffusion": "$@network_def.load_state_dict({}, strict=False)"},
            "tensors of the denoiser unset",
        ),
        ({"diffusion": "$5"}, "it has no denoiser"),
    ],
)
def test_networks_without_their_weights_are_refused(bundle, monkeypatch, changes, words):
    changed(bundle, **changes)
    with pytest.raises(ModelRefused, match=words):
        built_here(bundle, monkeypatch)


def test_what_the_bundle_does_not_say_is_asked_for(bundle, monkeypatch):
    said = built_here(bundle, monkeypatch).describe()
    assert json.loads(json.dumps(said)) == said
    with pytest.raises(BadInput, match=r"scale_factor: .*steps: .*intensity: "):
        build_bundle_recipe(bundle, said, ModelOverrides())
    changed(
        bundle,
        noise="$torch.zeros(1, 3, 8, 8, 8)",
        latent_shape=None,
        set_timesteps="$@noise_scheduler.set_timesteps(7)",
        scale_factor="$torch.tensor(0.5)",
    )
    said = built_here(bundle, monkeypatch).describe()
    recipe, facts, warnings = build_bundle_recipe(
        bundle, said, ModelOverrides.from_mapping({"intensity": {"rule": "minmax"}})
    )
    assert (recipe.steps, recipe.scale_factor, recipe.latent_shape) == (7, 0.5, (3, 8, 8, 8))
    assert (recipe.sampler, recipe.decoded_range, recipe.conditioning) == ("ddim", None, None)
    assert {f.name: f.origin for f in facts}["steps"] == "the bundle's scheduler"
    assert warnings == ()


def test_schedulers(bundle):
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler

    class Own(DDIMScheduler):
        pass

    def recipe_of(scheduler, **said):
        known = {"latent_shape": [3, 8, 8, 8], "shape": [16, 16, 16], "in_channels": 5}
        said = known | {"scheduler": _read_scheduler_settings(scheduler)} | said
        return build_bundle_recipe(
            bundle, json.loads(json.dumps(said)), ModelOverrides.from_mapping(DECLARED | more)
        )

    more = {}
    linear = DDPMScheduler(100, "linear_beta", beta_start=0.001, beta_end=0.03)
    recipe, _, warnings = recipe_of(linear)
    assert (recipe.sampler, warnings) == ("ddpm", ())
    assert (recipe.scheduler.schedule, recipe.scheduler.betas) == ("linear_beta", None)
    assert (recipe.scheduler.beta_start, recipe.scheduler.beta_end) == (0.001, 0.03)
    own = Own(50, prediction_type="sample", clip_sample=True, set_alpha_to_one=False)
    own.betas = torch.tensor([0.001 * (1 + i % 7) for i in range(50)])
    recipe, _, warnings = recipe_of(own)
    assert recipe.scheduler.betas == tuple(own.betas.tolist())
    assert (recipe.scheduler.prediction_type, recipe.scheduler.clip_sample) == ("sample", True)
    assert not recipe.scheduler.set_alpha_to_one
    assert "Own is the bundle's own" in warnings[0]
    more = {"spacing": (1, 1, 2), "context": (0.5, 1), "class_label": 9, "guidance": 2.0}
    flow = RFlowScheduler(500, use_timestep_transform=True, base_img_size_numel=99)
    recipe, _, _ = recipe_of(flow, told_spacing=True)
    assert (recipe.sampler, recipe.scheduler.num_train_timesteps) == ("rflow", 500)
    assert (recipe.scheduler.use_timestep_transform, recipe.scheduler.base_img_size_numel) == (
        True,
        99,
    )
    condition = recipe.conditioning
    assert (condition.concatenate, condition.spacing, condition.class_label) == (True, True, 9)
    with pytest.raises(BadInput, match="sampler: ddim"):
        recipe_of(None)


def test_code_that_is_not_needed_is_not_run(bundle, tmp_path):
    """Trusted or not, networks of MONAI are built from the configuration, read as data."""
    plain = tmp_path / "plain"
    shutil.copytree(bundle, plain)
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    for key, name in (("autoencoder_def", "AutoencoderKL"), ("network_def", "DiffusionModelUNet")):
        config[key]["_target_"] = f"monai.networks.nets.{name}"
    write(plain, config)
    assert needs_trust(plain) is None
