"""MedLoRD's files load whole, and sample as its own sampler does with its scale factor."""

import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from generative.networks.nets import VQVAE, DiffusionModelUNet
from monai.networks import nets
from torch import nn

from napari_memscan.checkpoints.families.monai_generative import rename_denoiser
from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.checkpoints.networks import build_denoiser, build_scheduler, load_strict
from napari_memscan.checkpoints.recipe import AutoencoderRecipe, SchedulerRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.volumes.preprocessing import Window

pytestmark = pytest.mark.usefixtures("opened_once")
LEVELS = 5
SCALE = 1.11
LATENT = (4, 2, 4, 2)
SHAPE = (8, 16, 8)
FACTS = {"shape": SHAPE, "family": "medlord"}

STAGE1 = """
training: {n_epochs: 3, roi_size: [8, 8, 8]}
optim: {lr_g: 3e-5}
model:
  params:
    spatial_dims: 3
    in_channels: 1
    out_channels: 1
    num_channels: [8, 8]
    num_res_channels: [8, 8]
    num_res_layers: 1
    # stride first, kernel second
    downsample_parameters: [[2, 4, 1, 1], [2, 4, 1, 1]]
    upsample_parameters: [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]]
    num_embeddings: 32
    embedding_dim: 4
    commitment_cost: 0.25
    decay: 0.98
    epsilon: 1e-5
    dropout: 0.0
    act: "RELU"
"""
LDM = """
training:
  scale_factor: 1.11
  use_ema: true
optim: {lr: 1e-4}
model:
  params:
    spatial_dims: 3
    in_channels: 4
    out_channels: 4
    num_res_blocks: 1
    num_channels: [32, 32]
    attention_levels: [false, true]
    with_conditioning: false
    num_head_channels: [0, 16]
    norm_eps: "1e-6"
    use_flash_attention: true
scheduler:
  schedule: "cosine"
  num_train_timesteps: 5
  prediction_type: "v_prediction"
"""


def randomised(network, seed):
    random = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        noise = torch.randn(tensor.shape, generator=random) * 0.1
        tensor.copy_(noise + 0.1 if tensor.ndim == 1 else noise)
    return network.eval()


def unet(seed=1):
    """monai-generative's U-Net, and as MedLoRD has it: nothing between last norm and conv."""
    network = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=4,
        num_res_blocks=1,
        num_channels=(32, 32),
        attention_levels=(False, True),
        num_head_channels=(0, 16),
    )
    network.out = nn.Sequential(network.out[0], network.out[2])
    return randomised(network, seed)


def vqvae(seed=0):
    return randomised(
        VQVAE(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            num_channels=(8, 8),
            num_res_channels=(8, 8),
            num_res_layers=1,
            downsample_parameters=((2, 4, 1, 1),) * 2,
            upsample_parameters=((2, 4, 1, 1, 0),) * 2,
            num_embeddings=32,
            embedding_dim=4,
        ),
        seed,
    )


def copied(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def save_denoiser(path, **changes):
    trained, averaged = unet(seed=9), unet()
    optimizer = torch.optim.AdamW(list(trained.parameters())[:3], lr=1e-4)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    content = {
        "epoch": 99,
        "best_loss": 0.12,
        "model": copied(trained),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99).state_dict(),
        "ema": {"decay": 0.999, "shadow": copied(averaged)},
    }
    torch.save({**content, **changes}, path)
    return trained, averaged


def save_autoencoder(path):
    network = vqvae()
    content = {
        "epoch": 5,
        "best_loss": 0.5,
        "model": copied(network),
        "discriminator": {"initial_conv.conv.weight": torch.ones(4, 1, 4, 4, 4)},
        "optimizer_g": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []},
        "optimizer_d": {"state": {}, "param_groups": []},
    }
    torch.save(content, path)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both files and both configurations, as the published ones are called."""
    folder = tmp_path_factory.mktemp("medlord")
    save_denoiser(folder / "ldm_luna_ds8.pth")
    save_autoencoder(folder / "vqgan_luna_ds8.pth")
    (folder / "configs" / "stage1").mkdir(parents=True)
    (folder / "configs" / "diffusion").mkdir()
    (folder / "configs" / "stage1" / "vqgan_ds8_new.yaml").write_text(STAGE1)
    deeper = STAGE1.replace("[8, 8]", "[8, 8, 8]")
    (folder / "configs" / "stage1" / "vqgan_deeper.yaml").write_text(deeper)
    (folder / "configs" / "stage1" / "vqgan_ds4_small.yaml").write_text("model:\n\tparams: 1\n")
    (folder / "configs" / "diffusion" / "medlord.yaml").write_text(LDM)
    return folder


def sampled(path, declared, seed=5):
    generator = LDMGenerator(path, "cpu", declared)
    results = generator.generate([seed], precision="float32")
    return next(x for x in results if isinstance(x, GeneratedSample)).volume.data


def betas():
    curve = [math.cos((t / LEVELS + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(LEVELS + 1)]
    return [min(1 - b / a, 0.9999) for a, b in pairwise(curve)]


def reference(network, seed=5, scale=SCALE):
    """Ancestral sampling with v-prediction, nothing clipped (Salimans & Ho 2022)."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn((1, *LATENT), generator=random)
    kept = np.cumprod([1 - b for b in betas()])
    with torch.no_grad():
        for t in reversed(range(LEVELS)):
            before = kept[t - 1] if t else 1.0
            velocity = network(x, torch.tensor([t]))
            clean = math.sqrt(kept[t]) * x - math.sqrt(1 - kept[t]) * velocity
            mean = math.sqrt(before) * betas()[t] / (1 - kept[t]) * clean
            mean = mean + math.sqrt(1 - betas()[t]) * (1 - before) / (1 - kept[t]) * x
            x = mean
            if t:
                variance = (1 - before) / (1 - kept[t]) * betas()[t]
                x = x + math.sqrt(variance) * torch.randn(x.shape, generator=random)
        volume = vqvae().decode_stage_2_outputs(x / scale)[0, 0].clamp(-1, 1)
    return ((volume + 1) * 1000 - 1000).numpy()


def test_a_folder_says_all_but_the_size(folder):
    first = detect_families(folder)[0]
    assert (first.family, first.kind) == ("medlord", "ldm")
    assert "'ema.shadow' in ldm_luna_ds8.pth" in first.reasons[0]
    (missing,) = map(str, first.missing)
    assert missing.startswith("latent_shape: channels and axes of a latent")
    assert first.missing[0].example.startswith("4,")
    assert "shape: voxels of a volume along X, Y, Z, each 4 times as many" in missing
    with pytest.raises(BadInput, match="Missing: latent_shape"):
        load_checkpoint(folder)
    assert detect_families(folder, {"shape": SHAPE})[0].missing == ()
    assert load_checkpoint(folder, {"shape": SHAPE}).report.family == "medlord"


def test_a_file_without_anything_beside_says_what_belongs_to_it(tmp_path):
    save_denoiser(tmp_path / "best_model.pth")
    first = detect_families(tmp_path / "best_model.pth")[0]
    assert first.family == "medlord"
    assert [fact.name for fact in first.missing] == ["autoencoder", "config"]
    assert "the YAML of the denoiser (best_model.pth), as medlord.yaml" in str(first.missing[1])


def test_the_recipe_is_what_the_configurations_say(folder):
    checkpoint = load_checkpoint(folder, FACTS)
    recipe = checkpoint.recipe
    assert recipe.latent_shape == LATENT
    assert recipe.scale_factor == SCALE
    assert recipe.preprocessing.shape == SHAPE
    assert recipe.preprocessing.intensity == Window(low=-1000, high=1000)
    assert (recipe.axes, recipe.decoded_range, recipe.spacing) == ("RAS", (-1, 1), None)
    assert (recipe.sampler, recipe.steps) == ("ddpm", LEVELS)
    assert recipe.scheduler.prediction_type == "v_prediction"
    assert not recipe.scheduler.clip_sample
    assert recipe.scheduler.betas == pytest.approx(betas(), abs=1e-12)
    assert recipe.denoiser["use_flash_attention"] is False
    assert recipe.denoiser["norm_eps"] == 1e-6
    assert recipe.autoencoder["epsilon"] == 1e-5
    report = checkpoint.report
    assert {fact.name: fact.origin for fact in report.facts}["scale_factor"] == "medlord.yaml"
    assert all(".proj_attn." in name for name in report.states["denoiser"].unused)
    assert any("axes are not known" in text for text in report.warnings)
    assert any("use_flash_attention is left out" in text for text in report.warnings)


def test_networks_are_the_originals(folder):
    model = LDMGenerator(folder, "cpu", FACTS).model
    random = torch.Generator().manual_seed(3)
    latent = torch.randn((1, *LATENT), generator=random)
    volume = torch.rand((1, 1, *SHAPE), generator=random) * 2 - 1
    close = {"rtol": 0, "atol": 1e-5}
    with torch.no_grad():
        expected = unet()(latent, torch.tensor([3]))
        torch.testing.assert_close(model.denoise(latent, torch.tensor([3])), expected, **close)
        decoded = vqvae().decode_stage_2_outputs(latent / SCALE)
        torch.testing.assert_close(model.decode(latent), decoded, **close)
        # What the training feeds to the denoiser is quantised.
        quantised = vqvae().encode_stage_2_inputs(volume)
        torch.testing.assert_close(model.encode_mean(volume), quantised, **close)
        assert (vqvae().encode(volume) - quantised).abs().max() > 1e-2
    assert expected.std() > 1e-2
    assert decoded.std() > 1e-3


def test_monais_own_network_takes_the_same_weights_and_is_wrong(folder):
    """Why there is a network of its own: the activation that MedLoRD took out."""
    arguments = {**load_checkpoint(folder, FACTS).recipe.denoiser, "network": "DiffusionModelUNet"}
    state, arguments = rename_denoiser(StateDict(copied(unet())), arguments)
    state = state.rename([(r"^out\.1\.conv\.", "out.2.conv.")])
    network = build_denoiser(arguments)
    assert isinstance(network, nets.DiffusionModelUNet)
    load_strict(network, state.tensors, "here")
    latent = torch.randn((1, *LATENT), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        difference = network(latent, torch.tensor([3])) - unet()(latent, torch.tensor([3]))
    assert difference.abs().max() > 0.1


def test_a_sample_is_what_its_sampler_would_save(folder):
    volume = sampled(folder, FACTS)
    assert volume.shape == SHAPE
    assert volume.std() > 10
    np.testing.assert_allclose(volume, reference(unet()), rtol=0, atol=0.02)  # 1e-5 of the range
    trained, _ = save_denoiser(folder.parent / "unused.pth")
    assert np.abs(volume - reference(trained)).max() > 1


def test_the_cosine_is_medlords_and_not_monais(folder):
    schedule = load_checkpoint(folder, FACTS).recipe.scheduler
    assert max(schedule.betas) == 0.9999
    own = schedule.model_copy(update={"betas": None})
    assert isinstance(own, SchedulerRecipe)
    assert float(build_scheduler(own, "ddpm").betas.max()) == pytest.approx(0.999)
    kept = build_scheduler(schedule, "ddpm").alphas_cumprod
    np.testing.assert_allclose(kept, np.cumprod([1 - b for b in betas()]), rtol=1e-5)


@pytest.mark.parametrize("where", ["model", "bare"])
def test_without_moving_average_it_is_the_trained_weights(folder, tmp_path, where):
    trained, _ = save_denoiser(tmp_path / "best_model.pth", ema=None)
    path = tmp_path / "best_model.pth"
    if where == "bare":
        path = tmp_path / "final_model.pth"
        torch.save(copied(trained), path)
    declared = {
        **FACTS,
        "autoencoder": str(folder / "vqgan_luna_ds8.pth"),
        "config": str(folder / "configs"),
    }
    np.testing.assert_allclose(sampled(path, declared), reference(trained), rtol=0, atol=0.02)
    assert any(
        "no moving average" in text for text in load_checkpoint(path, declared).report.warnings
    )


def test_saved_in_our_own_format_it_samples_the_same(folder, tmp_path):
    checkpoint = load_checkpoint(folder, FACTS)
    save_checkpoint(tmp_path / "own", checkpoint.recipe, checkpoint.parts)
    assert load_checkpoint(tmp_path / "own").report.family == "native"
    assert np.array_equal(sampled(tmp_path / "own", None), sampled(folder, FACTS))


def test_run_folders_of_both_trainings(folder, tmp_path):
    for name in ("vqgan_v1", "ldm_v1"):
        (tmp_path / name).mkdir()
    save_autoencoder(tmp_path / "vqgan_v1" / "best_model.pth")
    (tmp_path / "vqgan_v1" / "vqgan.yaml").write_text(STAGE1)
    for name in ("best_model", "checkpoint_epoch_99", "last_checkpoint"):
        save_denoiser(tmp_path / "ldm_v1" / f"{name}.pth")
    (tmp_path / "medlord.yaml").write_text(LDM)
    declared = {
        **FACTS,
        "autoencoder": str(tmp_path / "vqgan_v1" / "best_model.pth"),
        "config": str(tmp_path / "medlord.yaml"),
    }
    checkpoint = load_checkpoint(tmp_path / "ldm_v1", declared)
    assert checkpoint.report.files["denoiser"].name == "best_model.pth"
    assert np.array_equal(sampled(tmp_path / "ldm_v1", declared), sampled(folder, FACTS))
    (tmp_path / "ldm_v1" / "best_model.pth").unlink()
    with pytest.raises(BadInput, match=r"which file is the denoiser: checkpoint_epoch_99\.pth, la"):
        load_checkpoint(tmp_path / "ldm_v1", declared)
    with pytest.raises(BadInput, match="no such file, though it is named as the autoencoder"):
        load_checkpoint(tmp_path / "ldm_v1", {**declared, "autoencoder": "gone.pth"})


def test_the_vqvae_alone_is_an_autoencoder(folder, tmp_path):
    path = folder / "vqgan_luna_ds8.pth"
    assert detect_families(path)[0].kind == "autoencoder"
    assert isinstance(load_checkpoint(path, FACTS, "autoencoder").recipe, AutoencoderRecipe)
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    with torch.no_grad():
        latent = vqvae().encode_stage_2_inputs(torch.from_numpy(volume)[None, None] * 2 - 1)
    for named in (path, folder):
        vector = load_embedder(named, "cpu", FACTS).embed(volume[None, None])[0]
        np.testing.assert_allclose(vector, latent.flatten(), atol=1e-5)


def test_a_scale_factor_far_off_the_configurations_is_told(folder):
    declared = {**FACTS, "scale_factor": 1.0}
    assert not any("declared" in text for text in load_checkpoint(folder, declared).report.warnings)
    checkpoint = load_checkpoint(folder, {**FACTS, "scale_factor": 2.0})
    assert checkpoint.recipe.scale_factor == 2.0
    assert any(
        "scale_factor 2 is declared, but medlord.yaml was trained with 1.11" in text
        for text in checkpoint.report.warnings
    )


def with_config(folder, tmp_path, text):
    """Return the weights without configurations beside them, and what is declared."""
    (tmp_path / "weights").mkdir(exist_ok=True)
    for path in folder.glob("*.pth"):
        shutil.copy(path, tmp_path / "weights")
    (tmp_path / "medlord.yaml").write_text(text)
    (tmp_path / "vqgan.yaml").write_text(STAGE1)
    return tmp_path / "weights" / "ldm_luna_ds8.pth", {**FACTS, "config": str(tmp_path)}


def test_a_training_without_scale_factor_took_one(folder, tmp_path):
    path, declared = with_config(folder, tmp_path, LDM.replace("  scale_factor: 1.11\n", ""))
    assert load_checkpoint(path, declared).recipe.scale_factor == 1.0
    path, declared = with_config(folder, tmp_path, LDM.replace("training:", "unknown:"))
    with pytest.raises(BadInput, match="Missing: scale_factor: what latents were multiplied by"):
        load_checkpoint(path, declared)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[32, 32]", "[32, 64]", r"another shape: down_blocks\.1.* the recipe makes it"),
        ("[false, true]", "[false, false]", r"medlord\.yaml.*network: down_blocks\.1\.attent"),
        ("num_channels", "hidden", "the YAML of the denoiser"),
        ("norm_eps:", "norm_epsilon:", r"medlord\.yaml: .*do not build a MedlordUNet"),
        ("conditioning: false", "conditioning: true", "conditional denoisers of MedLoRD are not"),
        ("prediction_type:", "variance_type:", "'scheduler' is missing or holds what is not known"),
        ('"v_prediction"', '"noise"', r"medlord\.yaml: what is known of it makes no recipe"),
        ("num_train_timesteps: 5", "num_train_timesteps: few", "num_train_timesteps few is no c"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(folder, tmp_path, old, new, message):
    path, declared = with_config(folder, tmp_path, LDM.replace(old, new))
    with pytest.raises(BadInput, match=message):
        load_checkpoint(path, declared)


def test_two_configurations_that_say_different_things_are_not_guessed(folder, tmp_path):
    path, declared = with_config(folder, tmp_path, LDM)
    (tmp_path / "medlord_1000.yaml").write_text(LDM.replace("timesteps: 5", "timesteps: 4"))
    (tmp_path / "same.yaml").write_text(LDM.replace("lr: 1e-4", "lr: 5e-5"))
    (missing,) = map(str, detect_families(path, declared)[0].missing)
    assert missing.startswith("config: medlord.yaml, medlord_1000.yaml")
    with pytest.raises(BadInput, match="name the one it was trained by"):
        load_checkpoint(path, declared)
    chosen = {**declared, "config": str(tmp_path / "medlord_1000.yaml")}
    assert load_checkpoint(path, chosen).recipe.steps == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("middle_block.resnet_1.conv1.conv.weight", "missing: middle_block.resnet_1"),
        ("down_blocks.0.resnets.0.conv1.conv.weight", "missing: down_blocks.0.resnets.0.conv1"),
        (None, "not in the network: controlnet.weight"),
    ],
)
def test_a_state_with_more_or_less_is_refused(folder, tmp_path, name, message):
    shadow = copied(unet())
    if name is None:
        shadow["controlnet.weight"] = torch.ones(2)
    else:
        del shadow[name]
    save_denoiser(tmp_path / "ldm.pth", ema={"decay": 0.9, "shadow": shadow})
    declared = {
        **FACTS,
        "autoencoder": str(folder / "vqgan_luna_ds8.pth"),
        "config": str(folder / "configs"),
    }
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "ldm.pth", declared)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"shape": (8, 18, 8)}, r"by 4, so a latent of \(4, 2, 4, 2\) decodes to \(8, 16, 8\)"),
        ({"shape": (8, 16, 8), "latent_shape": (4, 2, 2, 2)}, r"decodes to \(8, 8, 8\)"),
        ({"latent_shape": (3, 2, 4, 2)}, "does not fit the denoiser"),
        ({"latent_shape": (4, 3, 3, 3)}, "does not fit the denoiser"),
        ({**FACTS, "steps": 6}, r"steps \(6\) exceed num_train_timesteps \(5\)"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_numbers(folder, facts, message):
    with pytest.raises(BadInput, match=message):
        load_checkpoint(folder, facts)


def test_other_files_are_not_taken_for_it(tmp_path):
    torch.save(copied(nn.Linear(3, 3)), tmp_path / "other.pth")
    assert detect_families(tmp_path / "other.pth") == []
    network = DiffusionModelUNet(3, 4, 4, (1,), (32,), (True,), num_head_channels=8)
    torch.save(copied(network), tmp_path / "legacy.pth")
    assert "medlord" not in [c.family for c in detect_families(tmp_path / "legacy.pth")]
