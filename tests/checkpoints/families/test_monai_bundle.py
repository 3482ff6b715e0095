"""Bundles of MONAI, the 3d_ldm tutorial and BrLP: recognised, exact; what is lost is asked for."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import LatentDiffusionInferer
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, RFlowScheduler

from napari_memscan.checkpoints.families import monai_bundle
from napari_memscan.checkpoints.families import monai_plans as monai_layouts
from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample

CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = {"batch": 1, "precision": "float32", "memory": "contiguous", "decode": "whole"}
AUTOENCODER = {"norm_num_groups": 4, "num_res_blocks": 1}
DENOISER = {"norm_num_groups": 4, "num_res_blocks": 1}
TRANSFORMS = [
    {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x[@channel]"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": "@spacing", "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRangePercentilesd",
        "keys": "image",
        "lower": 0,
        "upper": 99.5,
        "b_min": 0,
        "b_max": 1,
    },
]


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=random) * 0.1
        parameter.data = noise + 0.1 * (parameter.ndim == 1)
    return network.eval()


def narrowed(folder, to, file, widths, **changes):
    """Copy configurations with thinner networks; the keys of `changes` are replaced."""
    if not to.exists():
        shutil.copytree(CONFIGS / folder, to)
    config = json.loads((to / file).read_text())
    for key, channels in widths.items():
        name = "num_channels" if "num_channels" in config[key] else "channels"
        config[key] |= {name: channels} | (AUTOENCODER if "auto" in key else DENOISER)
        if "num_head_channels" in config[key]:
            config[key]["num_head_channels"] = [0] + [4] * (len(channels) - 1)
    (to / file).write_text(json.dumps(config | changes))
    return config | changes


def built(cls, definition, **values):
    """Build the original network from its definition, references filled in."""
    names = {"@spatial_dims": 3, "@image_channels": 1, "$@image_channels": 1, "@latent_channels": 8}
    arguments = {k: names.get(v, v) if isinstance(v, str) else v for k, v in definition.items()}
    arguments.pop("_target_")
    return randomised(cls(**arguments | values))


def saved(network, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)


def drawn(path, seed=5, declared=None, **options):
    """Sample without clipping, so that clipping hides no difference."""
    generator = LDMGenerator(path, "cpu", declared)
    generator.recipe = generator.recipe.model_copy(update={"decoded_range": None, "axes": "RAS"})
    found = [
        s for s in generator.generate([seed], **PLAIN, **options) if isinstance(s, GeneratedSample)
    ]
    return found[0].volume.data


def noise(shape, seed=5):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def by_monai(scheduler, steps, shape, autoencoder, denoiser, scale, **options):
    """Sample with MONAI's own call; its noise comes from the global generator."""
    scheduler.set_timesteps(steps)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        start = torch.randn((1, *shape))
        inferer = LatentDiffusionInferer(scheduler, scale, **options)
        image = inferer.sample(start, autoencoder, denoiser, scheduler, verbose=False)
    return np.asarray(image[0, 0])


def same(ours, theirs, atol=1e-5):
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=1e-5)


@pytest.fixture(scope="module")
def brats(tmp_path_factory):
    """A narrow brats bundle with current names: folder, autoencoder, denoiser."""
    folder = tmp_path_factory.mktemp("zoo") / "brats"
    widths = {"autoencoder_def": [8, 8], "network_def": [8, 16]}
    config = narrowed(
        "brats",
        folder,
        "configs/inference.json",
        widths,
        latent_shape=[8, 4, 6, 4],
        set_timesteps="$@noise_scheduler.set_timesteps(num_inference_steps=4)",
    )
    for key in widths:
        config[key]["attention_levels"] = [False, key == "network_def"]
    training = json.loads((folder / "configs/train_autoencoder.json").read_text())
    training["preprocessing_transforms"] = TRANSFORMS
    (folder / "configs/train_autoencoder.json").write_text(json.dumps(training))
    (folder / "configs/inference.json").write_text(json.dumps(config))
    networks = (
        built(AutoencoderKL, config["autoencoder_def"]),
        built(DiffusionModelUNet, config["network_def"]),
    )
    for network, name in zip(networks, ("model_autoencoder.pt", "model.pt"), strict=True):
        saved(network, folder / "models" / name)
    (folder / "large_files.yml").unlink()
    return folder, *networks


@pytest.fixture
def copy(brats, tmp_path):
    """The same bundle, to be changed."""
    shutil.copytree(brats[0], tmp_path / "brats")
    return tmp_path / "brats"


def edited(folder, file="configs/inference.json", **changes):
    config = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps(config))


def scheduler(cls=DDIMScheduler, **changes):
    values = {
        "schedule": "scaled_linear_beta",
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "clip_sample": False,
    }
    return cls(num_train_timesteps=1000, **values | changes)


def test_a_bundle_comes_first_and_says_what_was_seen_and_what_is_missing(brats):
    first = detect_families(brats[0])[0]
    assert (first.family, first.kind, first.title) == (
        "monai_bundle",
        "ldm",
        monai_layouts.BUNDLE_TITLE,
    )
    assert first.score > 0.95
    text = "; ".join(first.reasons)
    assert "configs/inference.json" in text
    assert "model_autoencoder.pt is there" in text
    assert len(first.missing) == 1
    assert str(first.missing[0]).startswith("scale_factor: 1/std of the training latents")
    assert "scale_factor=1.0 reproduces" in str(first.missing[0])
    with pytest.raises(BadInput, match="scale_factor"):
        load_checkpoint(brats[0])


@pytest.mark.parametrize("which", ["", "configs/inference.json"])
def test_facts_come_from_the_configurations_with_their_origin(brats, which):
    checkpoint = load_checkpoint(
        brats[0] / which, {"scale_factor": 1.3, "scale_factor_from": "estimated"}
    )
    recipe = checkpoint.recipe
    facts = {fact.name: (fact.value, fact.origin) for fact in checkpoint.report.facts}
    assert facts["scale_factor"] == ("1.3", "estimated")
    assert recipe.provenance == {"scale_factor": "estimated"}
    assert facts["latent_shape"] == ("8 x 4 x 6 x 4", "configs/inference.json")
    assert facts["steps"] == ("4", "configs/inference.json")
    assert facts["spacing"] == ("1.1 x 1.1 x 1.1", "configs/train_autoencoder.json")
    assert facts["intensity"] == ("percentile 0.0 99.5", "configs/train_autoencoder.json")
    assert recipe.decoded_range == (0, 1)
    assert (recipe.axes, recipe.sampler, recipe.steps) == ("RAS", "ddim", 4)
    assert recipe.preprocessing.shape == (8, 12, 8)
    assert recipe.preprocessing.spacing == recipe.spacing == (1.1, 1.1, 1.1)
    assert (recipe.scheduler.beta_end, recipe.scheduler.prediction_type) == (0.0195, "epsilon")
    assert checkpoint.report.warnings == ()


@pytest.mark.parametrize("scale", [1.0, 1.37])
def test_a_sample_equals_monais_inferer(brats, scale):
    theirs = by_monai(scheduler(), 4, (8, 4, 6, 4), *brats[1:], scale)
    same(drawn(brats[0], declared={"scale_factor": scale}), theirs)


def test_the_scale_factor_matters_and_1_is_doubted(brats):
    one, other = (drawn(brats[0], declared={"scale_factor": f}) for f in (1.0, 1.37))
    assert np.abs(one - other).max() > 1e-3
    assert (
        "reproduces the model's own scripts"
        in load_checkpoint(brats[0], {"scale_factor": 1.0}).report.warnings[0]
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_arguments_are_those_of_the_configuration(brats, copy, prediction):
    extra = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": True}
    extra["prediction_type"] = prediction
    config = json.loads((copy / "configs/inference.json").read_text())
    edited(copy, noise_scheduler=config["noise_scheduler"] | extra)
    ours = drawn(copy, declared={"scale_factor": 1.2})
    same(ours, by_monai(scheduler(**extra), 4, (8, 4, 6, 4), *brats[1:], 1.2))


def test_ddpm_and_rectified_flow_equal_monais_too(brats, copy):
    small = {
        "num_train_timesteps": 6,
        "schedule": "scaled_linear_beta",
        "beta_start": 0.0015,
        "beta_end": 0.0195,
    }
    target = "monai.networks.schedulers.ddpm.DDPMScheduler"
    edited(copy, noise_scheduler={"_target_": target, **small}, set_timesteps="")
    checkpoint = load_checkpoint(copy, {"scale_factor": 1.2})
    # MONAI's default, where nothing is said.
    assert (checkpoint.recipe.steps, checkpoint.recipe.scheduler.clip_sample) == (6, True)
    theirs = by_monai(DDPMScheduler(**small), 6, (8, 4, 6, 4), *brats[1:], 1.2)
    same(drawn(copy, declared={"scale_factor": 1.2}), theirs)
    flow = {
        "use_discrete_timesteps": False,
        "use_timestep_transform": True,
        "scale": 1.4,
        "base_img_size_numel": 512,
        "sample_method": "logit-normal",
    }
    target = "monai.networks.schedulers.rectified_flow.RFlowScheduler"
    edited(copy, noise_scheduler={"_target_": target, **flow}, num_inference_steps=3)
    theirs = by_rflow(RFlowScheduler(**flow), 3, (8, 4, 6, 4), *brats[1:], 1.2)
    same(drawn(copy, declared={"scale_factor": 1.2}), theirs)


def by_rflow(flow, steps, shape, autoencoder, denoiser, scale):
    flow.set_timesteps(steps, input_img_size_numel=int(np.prod(shape[1:])))
    latent, levels = noise(shape), flow.timesteps
    with torch.no_grad():
        for t, after in zip(levels, torch.cat([levels[1:], levels.new_zeros(1)]), strict=True):
            latent = flow.step(denoiser(latent, torch.Tensor((t,))), t, latent, after)[0]
        return autoencoder.decode_stage_2_outputs(latent / scale)[0, 0].numpy()


def test_pndm_is_not_walked_but_its_levels_are(copy, brats):
    config = json.loads((copy / "configs/inference.json").read_text())["noise_scheduler"]
    config |= {"_target_": "monai.networks.schedulers.PNDMScheduler", "skip_prk_steps": True}
    config.pop("clip_sample")
    edited(copy, noise_scheduler=config)
    assert any(
        "PNDM" in fact.what and fact.example == "ddim" for fact in detect_families(copy)[0].missing
    )
    with pytest.raises(BadInput, match="PNDM"):
        load_checkpoint(copy, {"scale_factor": 1.0})
    assert (
        load_checkpoint(copy, {"scale_factor": 1.0, "sampler": "ddim"}).recipe.scheduler.beta_end
        == 0.0195
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance_type": "learned"}, "variance_type"),
        ({"clip_sample_max": 3}, "clip_sample_max"),
        ({"eta_of_theirs": 1}, "eta_of_theirs"),
        ({"beta_end": 3}, "beta_end"),
        ({"_target_": "os.system"}, "no network or scheduler"),
    ],
)
def test_a_schedule_that_is_not_known_is_refused(copy, change, message):
    config = json.loads((copy / "configs/inference.json").read_text())["noise_scheduler"]
    edited(copy, noise_scheduler=config | change)
    with pytest.raises(BadInput, match=message):
        load_checkpoint(copy, {"scale_factor": 1.0})
    assert message in str(detect_families(copy, {"scale_factor": 1.0})[0].missing[0])


@pytest.mark.parametrize("shape", [(8, 4, 5, 4), (3, 4, 4, 4)])
def test_a_latent_shape_that_does_not_fit_is_refused(brats, shape):
    with pytest.raises(BadInput, match="latent_shape"):
        load_checkpoint(brats[0], {"scale_factor": 1.0, "latent_shape": shape})


def test_the_shape_of_volumes_can_be_stated_instead(brats):
    recipe = load_checkpoint(brats[0], {"scale_factor": 1.0, "shape": (16, 8, 8)}).recipe
    assert recipe.latent_shape == (8, 8, 4, 4)
    with pytest.raises(BadInput, match="multiple"):
        load_checkpoint(brats[0], {"scale_factor": 1.0, "shape": (15, 8, 8)})


def test_what_is_not_told_is_unknown_and_said(copy):
    (copy / "configs/train_autoencoder.json").unlink()
    checkpoint = load_checkpoint(copy, {"scale_factor": 1.3})
    assert checkpoint.recipe.spacing is checkpoint.recipe.decoded_range is None
    text = "; ".join(checkpoint.report.warnings)
    for name in ("spacing", "decoded_range", "intensity", "axes"):
        assert f"({name})" in text
    stated = {
        "spacing": (1, 1, 2),
        "decoded_range": (-1, 1),
        "axes": "LPS",
        "scale_factor": 1.3,
        "intensity": {"rule": "window", "low": 0, "high": 9},
    }
    checkpoint = load_checkpoint(copy, stated)
    assert checkpoint.report.warnings == ()
    assert checkpoint.recipe.preprocessing.intensity.high == 9


def test_transforms_that_differ_tell_nothing(copy):
    training = json.loads((copy / "configs/train_autoencoder.json").read_text())
    other = [
        *training["preprocessing_transforms"][:-1],
        {**TRANSFORMS[-1], "upper": 99.0},
        {"_target_": "Spacingd", "pixdim": "$f(@x)"},
    ]
    edited(copy, "configs/train_diffusion.json", preprocessing_transforms=other)
    recipe = load_checkpoint(copy, {"scale_factor": 1.3}).recipe
    assert recipe.spacing is recipe.decoded_range is None


def test_code_elsewhere_does_no_harm_and_inside_a_network_is_refused(copy, tmp_path):
    mark = tmp_path / "ran"
    code = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    edited(copy, imports=["$import os", code], load_diffusion=code, evaluator=code)
    assert load_checkpoint(copy, {"scale_factor": 1.3}).recipe.steps == 4
    config = json.loads((copy / "configs/inference.json").read_text())["network_def"]
    edited(copy, network_def=config | {"num_res_blocks": code})
    assert "does not run code" in str(detect_families(copy)[0].missing[0])
    with pytest.raises(BadInput, match="does not run code"):
        load_checkpoint(copy, {"scale_factor": 1.3})
    assert not mark.exists()


@pytest.mark.parametrize("how", ["path", "link"])
def test_weights_outside_the_bundle_are_refused(copy, tmp_path, how):
    inside, outside = copy / "models/model.pt", tmp_path / "elsewhere.pt"
    inside.rename(outside)
    if how == "link":
        inside.symlink_to(outside)
    else:
        edited(copy, load_diffusion_path="$@bundle_root + '/../elsewhere.pt'")
    assert "out of" in str(detect_families(copy)[0].missing[0]) if how == "path" else True
    with pytest.raises(BadInput, match="out of"):
        load_checkpoint(copy, {"scale_factor": 1.3})


def test_weights_that_are_not_there_are_asked_for(copy, brats):
    (copy / "models/model.pt").unlink()
    missing = detect_families(copy)[0].missing
    assert any(fact.name == "denoiser" and "model.pt" in fact.what for fact in missing)
    stated = {"scale_factor": 1.2, "denoiser": str(brats[0] / "models/model.pt")}
    assert np.array_equal(drawn(copy, declared=stated), drawn(brats[0], declared=stated))


def test_a_file_of_another_part_is_refused(copy):
    with pytest.raises(BadInput, match="no denoiser of MONAI"):
        load_checkpoint(copy, {"scale_factor": 1.2, "denoiser": "models/model_autoencoder.pt"})


def test_wrappers_are_taken_off(copy):
    path = copy / "models/model.pt"
    state = {f"module.{k}": v for k, v in torch.load(path).items()}
    torch.save({"epoch": 3, "model": state, "optimizer": {"state": {}}}, path)
    report = load_checkpoint(copy, {"scale_factor": 1.2}).report
    assert (report.states["denoiser"].where, report.states["denoiser"].prefix) == (
        "model",
        "module.",
    )


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("network_def", {"include_fc": True}),
        ("network_def", {"channels": [8, 24]}),
        ("network_def", {"num_res_blocks": 2}),
        ("autoencoder_def", {"channels": [8, 12]}),
        ("autoencoder_def", {"attention_levels": [False, True]}),
    ],
)
def test_a_configuration_of_another_network_is_refused(copy, key, change):
    config = json.loads((copy / "configs/inference.json").read_text())[key]
    edited(copy, **{key: config | change})
    with pytest.raises(BadInput, match=r"do not fit.*configuration that belongs"):
        load_checkpoint(copy, {"scale_factor": 1.2})


def test_a_file_that_is_not_the_published_one_is_said(copy):
    files = {
        name: hashlib.md5((copy / name).read_bytes()).hexdigest()
        for name in ("models/model_autoencoder.pt", "models/model.pt")
    }

    def listed():
        entries = "".join(
            f'  - path: "{n}"\n    hash_val: "{h}"\n    hash_type: "md5"\n'
            for n, h in files.items()
        )
        (copy / "large_files.yml").write_text("large_files:\n" + entries)
        return load_checkpoint(copy, {"scale_factor": 1.2}).report.warnings

    assert listed() == ()
    files["models/model.pt"] = "0" * 32
    assert listed() == (
        "denoiser: model.pt is not the published file (another MD5 than in large_files.yml): "
        "fine-tuned, or damaged",
    )


def test_convert_gives_the_same_bytes(brats, tmp_path):
    checkpoint = load_checkpoint(brats[0], {"scale_factor": 1.2})
    save_checkpoint(tmp_path / "native", checkpoint.recipe, checkpoint.parts)
    again = LDMGenerator(tmp_path / "native", "cpu")
    first = LDMGenerator(brats[0], "cpu", {"scale_factor": 1.2})
    a, b = (
        next(s for s in g.generate([3], **PLAIN) if isinstance(s, GeneratedSample))
        for g in (first, again)
    )
    assert a.volume.data.tobytes() == b.volume.data.tobytes()
    assert a.volume.spacing == b.volume.spacing == (1.1, 1.1, 1.1)
    assert first.recipe_hash == again.recipe_hash


def test_a_2d_model_is_refused(copy):
    edited(copy, spatial_dims=2)
    with pytest.raises(BadInput, match="2D network"):
        load_checkpoint(copy, {"scale_factor": 1.2})


def test_a_class_is_needed_and_counted(copy, brats):
    config = json.loads((copy / "configs/inference.json").read_text())["network_def"]
    denoiser = built(DiffusionModelUNet, config, num_class_embeds=3)
    saved(denoiser, copy / "models/model.pt")
    edited(copy, network_def=config | {"num_class_embeds": 3})
    assert any(fact.name == "class_label" for fact in detect_families(copy)[0].missing)
    with pytest.raises(BadInput, match="counted from 0"):
        load_checkpoint(copy, {"scale_factor": 1.2, "class_label": 3})
    stated = {"scale_factor": 1.2, "class_label": 2, "guidance": 3.0}
    labels = torch.tensor([2])

    def guided(x, timesteps, context=None):
        with_, without = (denoiser(x, timesteps, class_labels=n) for n in (labels, 0 * labels))
        return without + 3 * (with_ - without)

    ours = drawn(copy, declared=stated)
    same(ours, by_monai(scheduler(), 4, (8, 4, 6, 4), brats[1], guided, 1.2))


# The brain bundle: values for the denoiser, both concatenated and as cross-attention.

CONTEXT = [0.0, 0.1, 0.2, 0.4]


@pytest.fixture(params=["brain", "brain-generative"])
def brain(request, tmp_path):
    """Either version, with weights of monai-generative: folder, autoencoder, denoiser."""
    pytest.importorskip("generative")
    from generative.networks.nets import AutoencoderKL as OldAutoencoder
    from generative.networks.nets import DiffusionModelUNet as OldUNet

    widths = {"autoencoder_def": [8, 8, 8, 8], "diffusion_def": [8, 16, 16]}
    config = narrowed(
        request.param,
        tmp_path / "b",
        "configs/inference.json",
        widths,
        noise="$torch.randn((1, 3, 4, 4, 8)).to(@device)",
    )
    networks = []
    for key, cls in (("autoencoder_def", OldAutoencoder), ("diffusion_def", OldUNet)):
        values = {("num_channels" if k == "channels" else k): v for k, v in config[key].items()}
        networks.append(built(cls, values))
    new = request.param == "brain"
    names = ("autoencoder.pt", "model.pt") if new else ("autoencoder.pth", "diffusion_model.pth")
    for network, name in zip(networks, names, strict=True):
        saved(network, tmp_path / "b/models" / name)
    return tmp_path / "b", *networks


def as_the_bundle_samples(scheduler, steps, autoencoder, denoiser, values):
    """Do what the bundle's sampler does: the values as channels and as context."""
    scheduler.set_timesteps(steps)
    context = torch.tensor([[values]])
    channels = context[0, 0][None, :, None, None, None].expand(1, 4, 4, 4, 8)
    latent = noise((3, 4, 4, 8))
    with torch.no_grad():
        for t in scheduler.timesteps:
            both = torch.cat([latent, channels], dim=1)
            prediction = denoiser(both, timesteps=torch.Tensor((t,)).long(), context=context)
            latent = scheduler.step(prediction, t, latent)[0]
        return autoencoder.decode_stage_2_outputs(latent)[0, 0].numpy()


def test_the_brain_bundle_samples_as_its_own_sampler_does(brain):
    folder, autoencoder, denoiser = brain
    first = detect_families(folder)[0]
    assert (first.family, first.title, first.missing) == (
        "monai_bundle",
        monai_layouts.BRAIN_TITLE,
        (),
    )
    checkpoint = load_checkpoint(folder)
    condition = checkpoint.recipe.conditioning
    assert condition.names == ("gender", "age", "ventricular_vol", "brain_vol")
    assert (condition.context, condition.concatenate) == (tuple(CONTEXT), True)
    assert (checkpoint.recipe.scale_factor, checkpoint.recipe.steps) == (1.0, 50)
    assert (checkpoint.recipe.axes, checkpoint.recipe.spacing) == ("LAS", (1, 1, 1))
    assert any("was not published" in text for text in checkpoint.report.warnings)
    assert checkpoint.report.states["denoiser"].renamed > 0
    ddim = scheduler(beta_end=0.0205)
    stated = drawn(folder, steps=2)
    same(stated, as_the_bundle_samples(ddim, 2, autoencoder, denoiser, CONTEXT))
    other = [1.0, 0.7, 0.7, 0.5]
    ours = drawn(folder, declared={"context": other}, steps=2)
    theirs = as_the_bundle_samples(ddim, 2, autoencoder, denoiser, other)
    same(ours, theirs)
    assert np.abs(ours - stated).max() > 1e-3
    with pytest.raises(BadInput, match="3 values, the denoiser takes 4"):
        load_checkpoint(folder, {"context": (1, 1, 1)})


def test_a_flag_that_old_weights_contradict_is_set_right_and_said(brain):
    folder = brain[0]
    config = json.loads((folder / "configs/inference.json").read_text())["diffusion_def"]
    edited(folder, diffusion_def=config | {"include_fc": False})
    text = "; ".join(load_checkpoint(folder).report.warnings)
    assert "include_fc is False, but weights of monai-generative compute otherwise" in text


def test_other_extra_channels_are_refused(brain):
    folder = brain[0]
    config = json.loads((folder / "configs/inference.json").read_text())["diffusion_def"]
    edited(folder, diffusion_def=config | {"in_channels": 5})
    with pytest.raises(BadInput, match="2 more channels"):
        load_checkpoint(folder)


# The 3d_ldm tutorial.


@pytest.fixture
def tutorial(tmp_path):
    """Its folder, with a second configuration of the same networks and files to be passed over."""
    folder = tmp_path / "3d_ldm"
    widths = {"autoencoder_def": [8, 8, 8], "diffusion_def": [8, 16, 16]}
    levels = {"num_train_timesteps": 5, "beta_start": 0.0015, "beta_end": 0.0195}
    config = narrowed(
        "tutorial",
        folder,
        "config/config_train_16g.json",
        widths,
        NoiseScheduler=levels,
        diffusion_train={"patch_size": [16, 32, 16]},
    )
    text = json.dumps(config | {"diffusion_train": {"patch_size": [16, 32, 16], "lr": 1}})
    (folder / "config/config_train_32g.json").write_text(text)
    weights = folder / "trained_weights/diffusion_3d"
    autoencoder = built(AutoencoderKL, config["autoencoder_def"])
    denoiser = built(DiffusionModelUNet, config["diffusion_def"])
    for network, name in ((autoencoder, "autoencoder.pt"), (denoiser, "diffusion_unet.pt")):
        saved(network, weights / name)
        saved(randomised(network, 1), weights / name.replace(".pt", "_last.pt"))
        randomised(network, 0)
    saved(torch.nn.Conv3d(1, 1, 1), weights / "discriminator.pt")
    return folder, autoencoder, denoiser


def test_the_tutorial_samples_as_its_own_script_does(tutorial):
    folder, *networks = tutorial
    first = detect_families(folder)[0]
    assert (first.title, len(first.missing)) == (monai_layouts.TUTORIAL_TITLE, 1)
    checkpoint = load_checkpoint(folder, {"scale_factor": 1.0})
    assert checkpoint.recipe.latent_shape == (8, 4, 8, 4)
    assert checkpoint.report.files["denoiser"].name == "diffusion_unet.pt"
    assert checkpoint.recipe.spacing == (1.1, 1.1, 1.1)
    assert any("clipping" in text for text in checkpoint.report.warnings)
    ddpm = DDPMScheduler(5, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0195)
    ours = drawn(folder, declared={"scale_factor": 1.0})
    same(ours, by_monai(ddpm, 5, (8, 4, 8, 4), *networks, 1.0))


def test_two_configurations_that_differ_are_asked_about(tutorial):
    folder = tutorial[0]
    edited(folder, "config/config_train_32g.json", diffusion_train={"patch_size": [32, 32, 16]})
    assert "describe different models" in str(detect_families(folder)[0].missing[0])
    config = str(folder / "config/config_train_32g.json")
    for path, declared in ((folder, {"config": config}), (config, {})):
        recipe = load_checkpoint(path, {"scale_factor": 1.0, **declared}).recipe
        assert recipe.latent_shape == (8, 8, 8, 4)


def test_a_lone_file_needs_its_configuration(tutorial):
    folder = tutorial[0]
    weights = folder / "trained_weights/diffusion_3d"
    denoiser = weights / "diffusion_unet_last.pt"
    lone = detect_families(denoiser, {"autoencoder": str(weights / "autoencoder.pt")})[0]
    assert (lone.family, lone.score < 0.5) == ("monai_bundle", True)
    assert str(lone.missing[0]).startswith("config:")
    with pytest.raises(BadInput, match="config"):
        load_checkpoint(denoiser, {"autoencoder": str(weights / "autoencoder.pt")})
    stated = {
        "autoencoder": str(weights / "autoencoder.pt"),
        "scale_factor": 1.0,
        "config": str(folder / "config/config_train_16g.json"),
    }
    report = load_checkpoint(denoiser, stated).report
    assert [report.files[part].name for part in ("autoencoder", "denoiser")] == [
        "autoencoder.pt",
        "diffusion_unet_last.pt",
    ]


# BrLP and generative_brain.


def test_the_crop_equals_the_inferers_resizer(brats):
    latent = (8, 4, 6, 4)
    stated = {"scale_factor": 1.2, "decode_shape": (3, 5, 4)}
    ours = drawn(brats[0], declared=stated)
    same(
        ours,
        by_monai(
            scheduler(),
            4,
            latent,
            *brats[1:],
            1.2,
            ldm_latent_shape=list(latent[1:]),
            autoencoder_latent_shape=[3, 5, 4],
        ),
    )


@pytest.mark.parametrize("crop", [{"decode_shape": None}, {"decode_shape": (4, 6, 4)}])
def test_a_crop_starts_inside_the_latent_and_only_where_there_is_one(brats, crop):
    recipe = load_checkpoint(brats[0], {"scale_factor": 1.2}).recipe.model_dump() | crop
    assert "decode_start" not in recipe
    with pytest.raises(ValueError, match="decode_start"):
        LDMRecipe(**recipe, decode_start=(0, 1, 0))


def test_brlp_undoes_its_own_padding(tmp_path, monkeypatch):
    pytest.importorskip("generative")
    from generative.networks.nets import AutoencoderKL as OldAutoencoder
    from generative.networks.nets import DiffusionModelUNet as OldUNet
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms import DivisiblePad

    real = monai_layouts.find_brlp_plan

    def narrow(found):
        plan = real(found)
        thin = {"norm_num_groups": 4, "num_res_blocks": 1}
        a = plan.autoencoder.arguments | thin | {"channels": [8, 8, 8, 8]}
        d = plan.denoiser.arguments | thin
        d |= {"channels": [8, 16, 16], "num_head_channels": [0, 4, 4]}
        return replace(
            plan,
            autoencoder=replace(plan.autoencoder, arguments=a),
            denoiser=replace(plan.denoiser, arguments=d),
        )

    monkeypatch.setattr(monai_bundle, "find_brlp_plan", narrow)
    for name in ("autoencoder-ep-3.pth", "autoencoder-ep-20.pth", "unet-ep-7.pth"):
        (tmp_path / name).touch()
    plan = narrow(monai_bundle.PathProbe(tmp_path))
    networks = []
    for target, cls in ((plan.autoencoder, OldAutoencoder), (plan.denoiser, OldUNet)):
        arguments = {
            ("num_channels" if k == "channels" else k): v for k, v in target.arguments.items()
        }
        networks.append(randomised(cls(**arguments)))
    saved(networks[0], tmp_path / "autoencoder-ep-20.pth")
    saved(networks[1], tmp_path / "unet-ep-7.pth")
    first = detect_families(tmp_path)[0]
    assert (first.title, len(first.missing)) == (monai_layouts.BRLP_TITLE, 2)
    assert "lateral_ventricle" in "".join(map(str, first.missing))
    values = [0.7, 0.0, 0.5, 0.4, 0.3, 0.2, 0.6, 0.1]
    stated = {"scale_factor": 1.1, "context": values}
    recipe = load_checkpoint(tmp_path, stated).recipe
    assert (recipe.latent_shape, recipe.decode_shape) == ((3, 16, 20, 16), (15, 18, 15))
    assert (recipe.preprocessing.shape, recipe.axes) == ((120, 144, 120), "LAS")
    generator = LDMGenerator(tmp_path, "cpu", stated)
    latent, level = noise((3, 16, 20, 16)), torch.tensor([500])
    pad = DivisiblePad(k=4)
    unpadded = pad.inverse(pad(MetaTensor(torch.zeros(3, 15, 18, 15))) + latent[0] / 1.1)
    with torch.inference_mode():
        predicted = generator.model.denoise(latent, level)
        same(
            predicted.numpy(), networks[1](latent, level, context=torch.tensor([[values]])).numpy()
        )
        assert torch.equal(generator.model.codec.unscaled(latent)[0], unpadded.as_tensor())
        crop = unpadded.as_tensor()[None, :, :3, :3, :3]
        same(
            generator.model.codec.decode_unscaled(crop).numpy(),
            networks[0].decode_stage_2_outputs(crop).numpy(),
        )


GENERATIVE_BRAIN = """
stage1:
  params: {spatial_dims: 3, in_channels: 1, out_channels: 1, num_channels: [8, 8],
    latent_channels: 3, num_res_blocks: 1, norm_num_groups: 4, attention_levels: [false, false],
    with_encoder_nonlocal_attn: false, with_decoder_nonlocal_attn: false}
ldm:
  params: {spatial_dims: 3, in_channels: 3, out_channels: 3, num_res_blocks: 1,
    num_channels: [8, 16], norm_num_groups: 4, attention_levels: [false, true],
    num_head_channels: [0, 4]}
  scheduler: {schedule: scaled_linear_beta, num_train_timesteps: 1000, beta_start: 0.0015,
    beta_end: 0.0205, prediction_type: v_prediction, clip_sample: false}
"""


def test_generative_brain_without_texts(tmp_path):
    config = tmp_path / "model.yaml"
    config.write_text(GENERATIVE_BRAIN)
    levels = {"attention_levels": [False, False]}
    both = {"spatial_dims": 3, "num_res_blocks": 1, "norm_num_groups": 4}
    autoencoder = randomised(
        AutoencoderKL(
            in_channels=1,
            out_channels=1,
            channels=[8, 8],
            latent_channels=3,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
            **both,
            **levels,
        )
    )
    denoiser = randomised(
        DiffusionModelUNet(
            in_channels=3,
            out_channels=3,
            channels=[8, 16],
            attention_levels=[False, True],
            num_head_channels=[0, 4],
            **both,
        )
    )
    saved(autoencoder, tmp_path / "autoencoder.pth")
    saved(denoiser, tmp_path / "diffusion_model.pth")
    assert detect_families(tmp_path)[0].title == monai_layouts.GENERATIVE_BRAIN_TITLE
    stated = {"scale_factor": 1.2, "latent_shape": (3, 4, 4, 4)}
    ddim = scheduler(beta_end=0.0205, prediction_type="v_prediction")
    theirs = by_monai(ddim, 3, (3, 4, 4, 4), autoencoder, denoiser, 1.2)
    same(drawn(tmp_path, declared=stated, steps=3), theirs)
    conditioned = "num_head_channels: [0, 4], with_conditioning: true, cross_attention_dim: 1024}"
    config.write_text(GENERATIVE_BRAIN.replace("num_head_channels: [0, 4]}", conditioned))
    with pytest.raises(BadInput, match="steered by texts"):
        load_checkpoint(tmp_path, stated)
