"""MAISI and NV-Generate: the right files of a folder, and samples as their own script has them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks.schedulers import DDPMScheduler, RFlowScheduler

from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.volumes.preprocessing import Percentile, Window

pytestmark = pytest.mark.usefixtures("opened_once")
CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = {"batch": 1, "precision": "float32", "memory": "contiguous", "decode": "whole"}
SHAPE = (4, 4, 8, 4)
FAR = 2e-4
"""Twenty times what counts as equal."""
REFERENCES = {"@spatial_dims": 3, "@image_channels": 1, "@latent_channels": 4}
MR, BRAIN, CT = "diff_unet_3d_rflow-mr.pt", "diff_unet_3d_rflow-mr-brain_v1.pt", "ddpm-ct.pt"


def randomised(network, seed=0):
    random = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        # What the denoiser is told must matter, or its equality would mean little: spacing and
        # regions come times 100.
        told = 0.01 if "_layer.0" in name else 0.5 if "emb" in name or "_layer" in name else 0.1
        told = 1.0 if name.startswith("out.2") else told
        noise = torch.randn(parameter.shape, generator=random) * told
        parameter.data = noise + 0.1 * (parameter.ndim == 1)
    return network.eval()


def narrowed(path):
    """Make the networks of a configuration thin; return it."""
    config = json.loads(path.read_text())
    config["autoencoder_def"] |= {
        "num_channels": [4, 8, 8],
        "num_res_blocks": [1, 1, 1],
        "norm_num_groups": 4,
    }
    config["diffusion_unet_def"] |= {
        "num_channels": [4, 8],
        "attention_levels": [False, True],
        "num_head_channels": [0, 4],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
    }
    path.write_text(json.dumps(config))
    return config


def networks(config, seed=0, **changes):
    """Build both originals, as a processor can run them."""
    region = config.get("include_body_region", False)
    names = REFERENCES | {"@include_body_region": region}
    a, d = (
        {k: names.get(v, v) if isinstance(v, str) else v for k, v in config[key].items()}
        for key in ("autoencoder_def", "diffusion_unet_def")
    )
    a |= {"num_splits": 1, "norm_float16": False}
    d |= {"use_flash_attention": False} | changes
    for arguments in (a, d):
        arguments.pop("_target_")
    return randomised(AutoencoderKlMaisi(**a), seed), randomised(DiffusionModelUNetMaisi(**d), seed)


def saved(denoiser, path, scale=0.8, **more):
    path.parent.mkdir(exist_ok=True)
    content = {"epoch": 3, "loss": 0.1, "num_train_timesteps": 1000, "scale_factor": scale}
    torch.save(content | {"unet_state_dict": denoiser.state_dict()} | more, path)


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sampling(**changes):
    values = {
        "dim": [16, 32, 16],
        "spacing": [1.25, 1.0, 0.75],
        "num_inference_steps": 3,
        "modality": 9,
        "cfg_guidance_scale": 15,
        "random_seed": 0,
    }
    return {"diffusion_unet_inference": values | changes}


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    """A folder of NV-Generate with its MR model: folder, autoencoder, denoiser."""
    folder = tmp_path_factory.mktemp("nv") / "nv-generate"
    shutil.copytree(CONFIGS / "nv-generate", folder)
    narrowed(folder / "configs/config_network_ddpm.json")
    parts = networks(narrowed(folder / "configs/config_network_rflow.json"))
    edited(folder / "configs/config_maisi_diff_model_rflow-mr.json", **sampling())
    saved(parts[1], folder / "models" / MR, torch.tensor(0.8))
    torch.save(parts[0].state_dict(), folder / "models/autoencoder_v2.pt")
    return folder, *parts


@pytest.fixture
def copy(mr, tmp_path):
    shutil.copytree(mr[0], tmp_path / "nv")
    return tmp_path / "nv"


def second(folder, kind, file, autoencoder="autoencoder_v2.pt", **changes):
    """Add the configurations of another model to a folder."""
    environment = json.loads(
        (folder / "configs/environment_maisi_diff_model_rflow-mr.json").read_text()
    )
    environment |= {
        "model_filename": file,
        "existing_ckpt_filepath": f"./models/{file}",
        "trained_autoencoder_path": f"models/{autoencoder}",
    }
    text = json.dumps(environment)
    (folder / f"configs/environment_maisi_diff_model_{kind}.json").write_text(text)
    path = folder / f"configs/config_maisi_diff_model_{kind}.json"
    path.write_text(json.dumps(sampling(**changes)))


def drawn(path, declared=None, **options):
    """Sample, unclipped."""
    generator = LDMGenerator(path, "cpu", declared)
    generator.recipe = generator.recipe.model_copy(update={"decoded_range": None})
    found = generator.generate([5], **PLAIN, **options)
    return next(s for s in found if isinstance(s, GeneratedSample)).volume.data


def as_nvidia_samples(scheduler, steps, autoencoder, denoiser, scale, inputs, guidance=0):
    """Do what the project's script does: one batch of with and without, then whole decoding."""
    flow = isinstance(scheduler, RFlowScheduler)
    latent = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(5))
    if flow:
        scheduler.set_timesteps(steps, input_img_size_numel=int(np.prod(SHAPE[1:])))
    else:
        scheduler.set_timesteps(steps)
    levels = scheduler.timesteps
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        random = torch.Generator().manual_seed(5)
        torch.randn((1, *SHAPE), generator=random)
        for t, after in zip(levels, torch.cat([levels[1:], levels.new_zeros(1)]), strict=True):
            given = {"x": latent, "timesteps": torch.Tensor((t,)), **inputs}
            if guidance > 0:
                given = {
                    k: torch.cat([v, torch.zeros_like(v) if k == "class_labels" else v])
                    for k, v in given.items()
                }
                with_, without = denoiser(**given).chunk(2)
                output = without + guidance * (with_ - without)
            else:
                output = denoiser(**given)
            if flow:
                latent = scheduler.step(output, t, latent, after)[0]
            else:
                latent = scheduler.step(output, t, latent, generator=random)[0]
        return autoencoder.decode_stage_2_outputs(latent / scale)[0, 0].numpy()


def same(ours, theirs):
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def flow(scale=1.4):
    return RFlowScheduler(1000, False, scale=scale, use_timestep_transform=True)


# Few levels, so that each step weighs.
LEVELS = {"num_train_timesteps": 4, "beta_start": 0.1, "beta_end": 0.9}
SPACING = {"spacing_tensor": torch.tensor([[1.25, 1.0, 0.75]]) * 1e2}


def test_an_mr_folder_comes_first_and_nothing_is_missing(mr):
    first = detect_families(mr[0])[0]
    assert (first.family, first.kind, first.missing) == ("maisi", "ldm", ())
    text = "; ".join(first.reasons)
    assert "configs/config_network_rflow.json" in text
    assert MR in text


def test_facts_of_an_mr_model_and_what_is_changed_for_any_device(mr):
    checkpoint = load_checkpoint(mr[0])
    recipe = checkpoint.recipe
    facts = {fact.name: (fact.value, fact.origin) for fact in checkpoint.report.facts}
    sampled = "configs/config_maisi_diff_model_rflow-mr.json"
    assert facts["scale_factor"] == ("0.8", f"the checkpoint ({MR})")
    assert facts["latent_shape"] == ("4 x 4 x 8 x 4", sampled)
    assert facts["spacing"] == ("1.25 x 1.0 x 0.75", sampled)
    assert facts["class_label"] == ("9", sampled)
    assert facts["guidance"] == ("15", sampled)
    assert facts["denoiser: use_flash_attention"][0] == "off"
    assert facts["autoencoder: norm_float16"][0] == "False"
    assert facts["autoencoder: num_splits"][0] == "1"
    assert (recipe.sampler, recipe.steps, recipe.scheduler.use_timestep_transform) == (
        "rflow",
        3,
        True,
    )
    assert recipe.preprocessing.intensity == Percentile(low=0, high=99.5)
    assert recipe.preprocessing.shape == (16, 32, 16)
    assert (recipe.decoded_range, recipe.axes) == ((0, 1), "RAS")
    assert checkpoint.report.warnings == ()
    assert checkpoint.report.states["denoiser"].where == "unet_state_dict"


@pytest.mark.parametrize("guidance", [0, 3])
def test_a_sample_equals_the_projects_own_loop(mr, copy, guidance):
    path = copy / "configs/config_maisi_diff_model_rflow-mr.json"
    edited(path, **sampling(cfg_guidance_scale=guidance))
    assert load_checkpoint(copy).recipe.conditioning.guidance == (guidance or None)
    inputs = SPACING | {"class_labels": torch.tensor([9])}
    theirs = as_nvidia_samples(flow(), 3, *mr[1:], 0.8, inputs, guidance)
    ours = drawn(copy)
    same(ours, theirs)
    if guidance:
        return
    for other in ({"class_label": 10}, {"spacing": (1, 1, 1)}, {"scale_factor": 1.0}):
        assert np.abs(drawn(copy, other) - ours).max() > FAR


def test_the_voxel_size_goes_in_as_the_arrays_axes_lie(mr):
    # RAS to depth first: the file says X, Y, Z.
    stated = {"axes": "SRA", "spacing": (1.0, 0.75, 1.25), "guidance": 1.0}
    inputs = SPACING | {"class_labels": torch.tensor([9])}
    theirs = as_nvidia_samples(flow(), 3, *mr[1:], 0.8, inputs)
    same(drawn(mr[0], stated), theirs.transpose(1, 2, 0))


def test_convert_gives_the_same_bytes(mr, tmp_path):
    checkpoint = load_checkpoint(mr[0])
    save_checkpoint(tmp_path / "native", checkpoint.recipe, checkpoint.parts)
    a, b = (
        next(
            s
            for s in LDMGenerator(path, "cpu").generate([3], **PLAIN)
            if isinstance(s, GeneratedSample)
        )
        for path in (mr[0], tmp_path / "native")
    )
    assert a.volume.data.tobytes() == b.volume.data.tobytes()
    assert a.volume.data.max() <= 1
    assert a.volume.spacing == b.volume.spacing == (1.25, 1, 0.75)


def test_of_several_models_one_is_asked_for(copy, mr):
    config = json.loads((copy / "configs/config_network_rflow.json").read_text())
    brain = networks(config, 1)
    second(copy, "rflow-mr-brain", BRAIN, "autoencoder_v1.pt", cfg_guidance_scale=2, modality=29)
    saved(brain[1], copy / "models" / BRAIN, 0.5)
    torch.save(brain[0].state_dict(), copy / "models/autoencoder_v1.pt")
    missing = [*map(str, detect_families(copy)[0].missing)]
    assert "several models lie here" in "".join(missing)
    with pytest.raises(BadInput, match="several models lie here"):
        load_checkpoint(copy)
    by_file = {"denoiser": f"models/{BRAIN}"}
    configs = copy / "configs"
    ways = [
        (copy, by_file),
        (configs / "environment_maisi_diff_model_rflow-mr-brain.json", {}),
        (configs / "config_maisi_diff_model_rflow-mr-brain.json", {}),
    ]
    for path, declared in ways:
        checkpoint = load_checkpoint(path, declared)
        assert checkpoint.report.files["autoencoder"].name == "autoencoder_v1.pt"
        assert checkpoint.recipe.scale_factor == 0.5
        condition = checkpoint.recipe.conditioning
        assert (condition.class_label, condition.guidance) == (29, 2)
    assert load_checkpoint(copy, {"denoiser": f"models/{MR}"}).recipe.scale_factor == pytest.approx(
        0.8
    )


def test_the_longest_name_that_fits_is_the_models_own(copy):
    second(copy, "rflow-mr-brain", BRAIN, modality=29)
    (copy / "models" / MR).rename(copy / "models" / BRAIN.replace("_v1", "_v2"))
    stated = {
        "denoiser": f"models/{BRAIN.replace('_v1', '_v2')}",
        "autoencoder": "models/autoencoder_v2.pt",
    }
    assert load_checkpoint(copy, stated).recipe.conditioning.class_label == 29


@pytest.fixture
def ct(copy):
    """A DDPM model in the same folder, with regions and without a class."""
    config = json.loads((copy / "configs/config_network_ddpm.json").read_text())
    edited(
        copy / "configs/config_network_ddpm.json",
        noise_scheduler=config["noise_scheduler"] | LEVELS,
    )
    second(
        copy,
        "ddpm-ct",
        f"diff_unet_3d_{CT}",
        num_inference_steps=4,
        modality=1,
        cfg_guidance_scale=0,
        top_region_index=[0, 1, 0, 0],
        bottom_region_index=[0, 0, 1, 0],
    )
    parts = networks(config)
    saved(parts[1], copy / "models" / f"diff_unet_3d_{CT}")
    torch.save(parts[0].state_dict(), copy / "models/autoencoder_v2.pt")
    return copy, *parts


REGIONS = {
    "top_region_index_tensor": torch.tensor([[0.0, 1, 0, 0]]) * 1e2,
    "bottom_region_index_tensor": torch.tensor([[0.0, 0, 1, 0]]) * 1e2,
}


def ddpm():
    return DDPMScheduler(schedule="scaled_linear_beta", clip_sample=False, **LEVELS)


def test_a_ct_model_with_regions_equals_the_projects_loop(ct):
    folder, *parts = ct
    stated = {"denoiser": f"models/diff_unet_3d_{CT}"}
    recipe = load_checkpoint(folder, stated).recipe
    assert recipe.preprocessing.intensity == Window(low=-1000, high=1000)
    assert recipe.conditioning.regions == ((0, 1, 0, 0), (0, 0, 1, 0))
    assert (recipe.conditioning.class_label, recipe.conditioning.guidance) == (None, None)
    theirs = as_nvidia_samples(ddpm(), 4, *parts, 0.8, SPACING | REGIONS)
    same(drawn(folder, stated), theirs)
    other = {"regions": [[1, 0, 0, 0], [0, 0, 0, 1]]}
    assert np.abs(drawn(folder, stated | other) - theirs).max() > FAR
    generator = LDMGenerator(folder, "cpu", stated)
    volume = next(
        s for s in generator.generate([5], **PLAIN) if isinstance(s, GeneratedSample)
    ).volume.data
    same(volume, np.clip(theirs, 0, 1) * 2000 - 1000)


@pytest.mark.parametrize("neutral", [True, False])
def test_projections_that_the_configuration_leaves_out_are_dropped_as_there(ct, neutral):
    folder, _, denoiser = ct
    stated = {"denoiser": f"models/diff_unet_3d_{CT}"}
    before = drawn(folder, stated)
    state = denoiser.state_dict()
    for name in [n for n in state if n.endswith("attn.to_q.weight")]:
        block = name.removesuffix("to_q.weight")
        eye = torch.eye(8)
        state[f"{block}out_proj.weight"] = eye if neutral else 2 * eye
        state[f"{block}out_proj.bias"] = torch.zeros(8)
    saved(denoiser, folder / stated["denoiser"], unet_state_dict=state)
    report = load_checkpoint(folder, stated).report
    assert len(report.states["denoiser"].unused) == len(state) - len(denoiser.state_dict()) > 0
    assert bool(report.warnings) is not neutral
    assert np.array_equal(drawn(folder, stated), before)
    state["middle_block.stranger.weight"] = torch.zeros(3)
    saved(denoiser, folder / stated["denoiser"], unet_state_dict=state)
    with pytest.raises(BadInput, match="not in the network"):
        load_checkpoint(folder, stated)


def test_a_projection_that_is_used_must_be_there(copy):
    path = copy / "models" / MR
    content = torch.load(path)
    name = next(n for n in content["unet_state_dict"] if "out_proj.weight" in n)
    del content["unet_state_dict"][name]
    torch.save(content, path)
    with pytest.raises(BadInput, match=r"missing: .*out_proj"):
        load_checkpoint(copy)


@pytest.mark.parametrize("version", ["maisi-0.4", "maisi-1.0"])
def test_a_bundle_equals_the_loop_too(version, tmp_path):
    folder = tmp_path / version
    shutil.copytree(CONFIGS / version, folder)
    path = folder / "configs/inference.json"
    config = narrowed(path)
    levels = LEVELS if version == "maisi-0.4" else {}
    edited(
        path,
        output_size=[16, 32, 16],
        spacing=[1.25, 1.0, 0.75],
        noise_scheduler=config["noise_scheduler"] | levels,
        **(
            {"body_region": ["abdomen", "thorax"], "num_inference_steps": 4}
            if levels
            else {"num_inference_steps": 3}
        ),
    )
    parts = networks(config)
    files = {
        key: config[key].split("/")[-1].rstrip("'")
        for key in ("trained_autoencoder_path", "trained_diffusion_path")
    }
    saved(parts[1], folder / "models" / files["trained_diffusion_path"])
    torch.save(parts[0].state_dict(), folder / "models" / files["trained_autoencoder_path"])
    first = detect_families(folder)[0]
    assert first.family == "maisi"
    if levels:
        declared, scheduler, steps = {}, ddpm(), 4
        inputs = SPACING | REGIONS
        assert first.missing == ()
    else:
        declared, scheduler, steps = {"class_label": 1}, flow(1.2), 3
        inputs = SPACING | {"class_labels": torch.tensor([1])}
        assert [fact.name for fact in first.missing] == ["class_label"]
    checkpoint = load_checkpoint(folder, declared)
    assert any("ControlNet" in text for text in checkpoint.report.warnings)
    assert checkpoint.recipe.preprocessing.intensity == Window(low=-1000, high=1000)
    theirs = as_nvidia_samples(scheduler, steps, *parts, 0.8, inputs)
    same(drawn(folder, declared), theirs)


def test_what_is_missing_is_asked_for(copy):
    (copy / "configs/config_maisi_diff_model_rflow-mr.json").unlink()
    missing = [fact.name for fact in detect_families(copy)[0].missing]
    assert missing == ["latent_shape", "spacing", "class_label"]
    stated = {"latent_shape": SHAPE, "spacing": (1, 1, 1), "class_label": 1}
    recipe = load_checkpoint(copy, stated).recipe
    assert (recipe.steps, recipe.conditioning.guidance) == (30, None)
    assert recipe.preprocessing.intensity == Window(low=-1000, high=1000)
    with pytest.raises(BadInput, match="counted from 0"):
        load_checkpoint(copy, stated | {"class_label": 128})
    with pytest.raises(BadInput, match="latent_shape"):
        load_checkpoint(copy, stated | {"latent_shape": (4, 4, 7, 4)})
    shaped = {k: v for k, v in stated.items() if k != "latent_shape"} | {"shape": (16, 16, 32)}
    assert load_checkpoint(copy, shaped).recipe.latent_shape == (4, 4, 4, 8)


@pytest.mark.parametrize("value", [None, "text", torch.zeros(2), -1.0, float("nan")])
def test_a_scale_factor_that_is_none_is_asked_for(copy, mr, value):
    saved(mr[2], copy / "models" / MR, value)
    assert str(detect_families(copy)[0].missing[0]).startswith("scale_factor")
    if value is not None:
        return
    assert load_checkpoint(copy, {"scale_factor": 0.7}).recipe.scale_factor == 0.7


def test_weights_alone_ask_for_their_configuration(copy):
    lone = detect_families(copy / "models" / MR)
    assert [c.family for c in lone][:1] == ["maisi"]
    assert str(lone[0].missing[0]).startswith("config")
    with pytest.raises(BadInput, match="config"):
        load_checkpoint(copy / "models" / MR)
    stated = {
        "config": str(copy / "configs/config_network_rflow.json"),
        "autoencoder": str(copy / "models/autoencoder_v2.pt"),
    }
    assert load_checkpoint(copy / "models" / MR, stated).recipe.scale_factor == pytest.approx(0.8)


def test_weights_outside_the_folder_are_refused(copy, tmp_path):
    edited(
        copy / "configs/environment_maisi_diff_model_rflow-mr.json", model_filename=f"../../{MR}"
    )
    with pytest.raises(BadInput, match="out of"):
        load_checkpoint(copy)
    assert "out of" in str(detect_families(copy)[0].missing[0])


def test_no_configuration_that_fits_the_weights(copy, mr):
    (copy / "configs/config_network_rflow.json").rename(copy / "configs/config_network_old.json")
    config = json.loads((copy / "configs/config_network_ddpm.json").read_text())
    (copy / "configs/config_network_old.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="describes these weights"):
        load_checkpoint(copy)
