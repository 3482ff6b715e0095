"""medicaldiffusion's files load whole, and sample as that training samples."""

import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from napari_memscan.checkpoints.families.lightning_settings import get_setting, read_hyperparameters
from napari_memscan.checkpoints.loading import detect_families, load_checkpoint
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.checkpoints.nets.video_unet import VideoUNet
from napari_memscan.checkpoints.nets.vqgan3d import VQGAN3D
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import AutoencoderRecipe
from napari_memscan.checkpoints.weights import open_weights
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import GeneratedSample

pytestmark = pytest.mark.usefixtures("opened_once")
LEVELS = 6
DOWNSAMPLE = (2, 4, 4)  # D, H, W
LATENT = (3, 4, 4, 6)
SHAPE = (16, 24, 8)  # X, Y, Z of a volume whose D, H, W are 8, 16, 24
FACTS = {"downsample": (4, 4, 2), "shape": SHAPE, "family": "medicaldiffusion"}


def randomised(network, seed):
    random = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        noise = torch.randn(tensor.shape, generator=random) * 0.1
        tensor.copy_(noise + 0.1 if tensor.ndim == 1 else noise)
    return network.eval()


def networks(seed=0):
    vqgan = randomised(VQGAN3D(DOWNSAMPLE, n_hiddens=4, embedding_dim=3, n_codes=16), seed)
    unet = randomised(VideoUNet(8, channels=3, dim_mults=(1, 2), heads=2), seed + 1)
    return vqgan, unet


def buffers(levels=LEVELS):
    """The twelve of Ho et al. 2020 for the cosine of Nichol & Dhariwal 2021."""
    x = torch.linspace(0, levels, levels + 1, dtype=torch.float64)
    curve = torch.cos((x / levels + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - curve[1:] / curve[:-1]).clip(0, 0.9999)
    kept = torch.cumprod(1 - betas, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    variance = betas * (1 - before) / (1 - kept)
    values = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - kept),
    }
    return {name: value.float() for name, value in values.items()}


def training_only():
    return {
        "image_discriminator.model0.0.weight": torch.ones(2, 1, 4, 4),
        "video_discriminator.model0.0.weight": torch.ones(2, 1, 4, 4, 4),
        "perceptual_model.lin0.model.1.weight": torch.ones(1, 4, 1, 1),
    }


def whole(vqgan, unet):
    state = {f"vqgan.{k}": v for k, v in {**vqgan.state_dict(), **training_only()}.items()}
    state |= {f"denoise_fn.{k}": v for k, v in unet.state_dict().items()}
    return {k: v.clone() for k, v in {**state, **buffers()}.items()}


def save_whole(path, **changes):
    vqgan, unet = networks()
    _, other = networks(seed=7)
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "_growth_tracker": 3}
    content = {"step": 9, "model": whole(vqgan, other), "ema": whole(vqgan, unet), "scaler": scaler}
    torch.save({**content, **changes}, path)
    return vqgan, unet


class _OmegaConf:
    """Saves objects of classes that are named as OmegaConf's, with what those keep."""

    def __enter__(self):
        self.names = {
            "DictConfig": "omegaconf.dictconfig",
            "ListConfig": "omegaconf.listconfig",
            "AnyNode": "omegaconf.nodes",
            "Metadata": "omegaconf.base",
        }
        self.before = {m: sys.modules.get(m) for m in (*self.names.values(), "omegaconf")}
        sys.modules["omegaconf"] = ModuleType("omegaconf")
        for name, module in self.names.items():
            kind = type(name, (), {"__module__": module})
            made = sys.modules[module] = ModuleType(module)
            setattr(made, name, kind)
            setattr(self, name, kind)
        return self

    def __exit__(self, *_):
        for module, before in self.before.items():
            sys.modules.pop(module, None)
            if before is not None:
                sys.modules[module] = before

    def node(self, value, parent=None):
        kind = {dict: self.DictConfig, list: self.ListConfig}.get(type(value), self.AnyNode)
        node = kind()
        node._metadata, node._parent = self.Metadata(), parent
        node._metadata.__dict__.update(optional=True, key=None, flags={})
        if isinstance(value, dict):
            node._content = {k: self.node(v, node) for k, v in value.items()}
        elif isinstance(value, list):
            node._content = [self.node(v, node) for v in value]
        else:
            node._val = value
        return node


def save_lightning(path, vqgan, **model):
    cfg = {
        "model": {"n_hiddens": 4, "lr": 3e-4, "gpus": None, "size": "${dataset.size}", **model},
        "dataset": {"name": "MRNet"},
    }
    with _OmegaConf() as omegaconf:
        torch.save(
            {
                "epoch": 3,
                "global_step": 100,
                "pytorch-lightning_version": "1.6.4",
                "state_dict": {**vqgan.state_dict(), **training_only()},
                "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}],
                "lr_schedulers": [],
                "hparams_name": "cfg",
                "hyper_parameters": {"cfg": omegaconf.node(cfg)},
            },
            path,
        )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("results_folder") / "model-10.pt"
    return path, *save_whole(path)


def sampled(path, declared, seed=5):
    generator = LDMGenerator(path, "cpu", declared)
    results = generator.generate([seed], precision="float32")
    return next(x for x in results if isinstance(x, GeneratedSample)).volume.data


def reference(vqgan, unet, seed=5):
    """Ancestral sampling from the buffers, written down as the paper of Ho et al. has it."""
    b = buffers()
    random = torch.Generator().manual_seed(seed)
    x = torch.randn((1, *LATENT), generator=random)
    with torch.no_grad():
        for t in reversed(range(LEVELS)):
            noise = unet(x, torch.tensor([t]))
            clean = b["sqrt_recip_alphas_cumprod"][t] * x
            clean = (clean - b["sqrt_recipm1_alphas_cumprod"][t] * noise).clamp(-1, 1)
            x = b["posterior_mean_coef1"][t] * clean + b["posterior_mean_coef2"][t] * x
            if t > 0:
                drawn = torch.randn(x.shape, generator=random)
                x = x + (0.5 * b["posterior_log_variance_clipped"][t]).exp() * drawn
        codes = vqgan.codebook.embeddings
        x = (x + 1) / 2 * (codes.max() - codes.min()) + codes.min()
        volume = vqgan.decode(x, quantise=True)[0, 0]
    # D, H, W are Z, X, Y; -1 ... 1 becomes 0 ... 1.
    return ((volume.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()


def test_a_file_alone_says_what_it_is_and_what_is_missing(file):
    (candidate,) = detect_families(file[0])
    assert (candidate.family, candidate.kind) == ("medicaldiffusion", "ldm")
    assert "'ema' in model-10.pt" in candidate.reasons[0]
    downsample, shape = map(str, candidate.missing)
    assert downsample.startswith("downsample: ")
    assert "X, Y, Z (the largest is 4)" in downsample
    assert candidate.missing[0].example == "4,4,2"
    assert "in the order Z, X, Y" in downsample
    assert shape.startswith("shape: ")
    assert "latent_shape: channels and Z, X, Y of a latent, as 3," in shape
    with pytest.raises(BadInput, match=r"do not say everything\. Missing: downsample"):
        load_checkpoint(file[0])
    declared = {"downsample": (4, 4, 2), "shape": SHAPE}
    assert detect_families(file[0], declared)[0].missing == ()
    assert load_checkpoint(file[0], declared).report.family == "medicaldiffusion"


def test_everything_else_is_read_from_shapes(file):
    checkpoint = load_checkpoint(file[0], FACTS)
    recipe = checkpoint.recipe
    assert recipe.autoencoder == {
        "network": "VQGAN3D",
        "downsample": [2, 4, 4],
        "n_hiddens": 4,
        "embedding_dim": 3,
        "n_codes": 16,
        "image_channels": 1,
    }
    assert recipe.denoiser == {
        "network": "VideoUNet",
        "dim": 8,
        "channels": 3,
        "dim_mults": [1, 2],
        "heads": 2,
    }
    assert recipe.latent_shape == LATENT
    assert recipe.preprocessing.shape == SHAPE
    assert (recipe.axes, recipe.decoded_range) == ("SRA", (-1, 1))
    assert (recipe.sampler, recipe.steps, recipe.latent_scaling) == ("ddpm", LEVELS, "codebook")
    assert recipe.scheduler.clip_sample
    assert recipe.scheduler.prediction_type == "epsilon"
    assert torch.equal(torch.tensor(recipe.scheduler.betas), buffers()["betas"])
    unused = checkpoint.report.states["autoencoder"].unused
    assert sorted(unused) == sorted(training_only())
    lines = "\n".join(checkpoint.report.lines())
    assert "latent_shape: 3 x 4 x 4 x 6 (declared shape / downsample)" in lines
    assert "weights: 'ema' (the checkpoint)" in lines
    assert any("no published weights" in text for text in checkpoint.report.warnings)


@pytest.mark.parametrize(
    "facts",
    [
        {"downsample": (4, 4, 2), "latent_shape": LATENT},
        {"shape": SHAPE, "latent_shape": LATENT},
        # D, H, W point along Y, against X, along Z.
        {"axes": "ALS", "downsample": (4, 2, 4), "shape": (16, 8, 24)},
    ],
)
def test_each_way_to_state_the_sizes(file, facts):
    recipe = load_checkpoint(file[0], facts).recipe
    assert recipe.latent_shape == LATENT
    assert recipe.autoencoder["downsample"] == [2, 4, 4]


def test_networks_are_the_originals(file):
    path, vqgan, unet = file
    model = LDMGenerator(path, "cpu", FACTS).model
    latent = torch.randn((1, *LATENT), generator=torch.Generator().manual_seed(3))
    level = torch.tensor([4])
    with torch.no_grad():
        expected = unet(latent, level)
        torch.testing.assert_close(model.denoise(latent, level), expected, rtol=0, atol=1e-5)
        low, high = vqgan.codebook.embeddings.aminmax()
        expected = vqgan.decode((latent + 1) / 2 * (high - low) + low)
        torch.testing.assert_close(model.decode(latent), expected, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3


def test_a_sample_is_what_the_training_would_sample(file):
    path, vqgan, unet = file
    volume = sampled(path, FACTS)
    assert volume.shape == SHAPE
    assert volume.std() > 1e-3
    np.testing.assert_allclose(volume, reference(vqgan, unet), rtol=0, atol=1e-5)


def test_it_is_the_moving_average_that_samples(file, tmp_path):
    path, vqgan, _ = file
    _, other = networks(seed=7)
    assert not np.allclose(sampled(path, FACTS), reference(vqgan, other), atol=1e-3)
    content = torch.load(path, weights_only=True)
    del content["ema"]
    torch.save(content, tmp_path / "model-1.pt")
    volume = sampled(tmp_path / "model-1.pt", FACTS)
    np.testing.assert_allclose(volume, reference(vqgan, other), rtol=0, atol=1e-5)
    assert any(
        "no 'ema'" in text
        for text in load_checkpoint(tmp_path / "model-1.pt", FACTS).report.warnings
    )


def test_saved_in_our_own_format_it_samples_the_same(file, tmp_path):
    checkpoint = load_checkpoint(file[0], FACTS)
    save_checkpoint(tmp_path / "own", checkpoint.recipe, checkpoint.parts)
    assert load_checkpoint(tmp_path / "own").report.family == "native"
    assert np.array_equal(sampled(tmp_path / "own", None), sampled(file[0], FACTS))


def test_sizes_come_from_the_vqgan_that_lies_beside(file, tmp_path):
    vqgan, _ = save_whole(tmp_path / "model-3.pt")
    save_lightning(tmp_path / "another.ckpt", networks(seed=50)[0], downsample=[4, 4, 4])
    save_lightning(
        tmp_path / "latest_checkpoint.ckpt",
        vqgan,
        downsample=[2, 4, 4],
        diffusion_img_size=4,
        diffusion_depth_size=4,
    )
    for path in (tmp_path, tmp_path / "model-3.pt"):
        assert detect_families(path)[0].missing == ()
        checkpoint = load_checkpoint(path)
        assert checkpoint.recipe.latent_shape == (3, 4, 4, 4)
        assert checkpoint.recipe.autoencoder["downsample"] == [2, 4, 4]
        origins = {fact.name: fact.origin for fact in checkpoint.report.facts}
        assert origins["downsample"] == origins["latent_shape"] == "latest_checkpoint.ckpt"
    # What is stated goes first.
    assert load_checkpoint(tmp_path / "model-3.pt", FACTS).recipe.latent_shape == LATENT


def test_sizes_come_from_the_vqgan_that_is_named(file, tmp_path):
    path, vqgan, _ = file
    save_lightning(tmp_path / "v.ckpt", vqgan, downsample=[2, 4, 4])
    declared = {"autoencoder": str(tmp_path / "v.ckpt"), "shape": SHAPE}
    assert load_checkpoint(path, declared).recipe.latent_shape == LATENT
    save_lightning(tmp_path / "v.ckpt", networks(seed=50)[0], downsample=[2, 4, 4])
    with pytest.raises(BadInput, match=r"v\.ckpt: not the VQ-GAN that model-10\.pt holds"):
        load_checkpoint(path, declared)
    with pytest.raises(BadInput, match="no such file, though it is named as the autoencoder"):
        load_checkpoint(path, {"autoencoder": str(tmp_path / "gone.ckpt"), "shape": SHAPE})


def test_settings_of_omegaconf_are_read_and_nothing_is_imported(file, tmp_path):
    save_lightning(tmp_path / "v.ckpt", file[1], downsample=[2, 4, 4])
    weights = open_weights(tmp_path / "v.ckpt")
    assert "omegaconf.dictconfig.DictConfig" in weights.foreign
    values = read_hyperparameters(weights.content)
    assert get_setting(values, "cfg.model") == {
        "n_hiddens": 4,
        "lr": 3e-4,
        "gpus": None,
        "size": "${dataset.size}",
        "downsample": [2, 4, 4],
    }
    assert get_setting(values, "cfg.nothing.there") is None
    loop = []
    loop.append(loop)
    deep = read_hyperparameters({"hyper_parameters": {"a": loop}})
    assert deep["a"][0][0] is not None
    assert read_hyperparameters([]) == {}


def test_the_vqgan_alone_is_an_autoencoder(file, tmp_path):
    path, vqgan = tmp_path / "latest_checkpoint.ckpt", file[1]
    save_lightning(path, vqgan, downsample=[2, 4, 4])
    (candidate,) = detect_families(path)
    assert candidate.kind == "autoencoder"
    assert [fact.name for fact in candidate.missing] == ["shape"]
    checkpoint = load_checkpoint(path, {"shape": SHAPE}, "autoencoder")
    assert isinstance(checkpoint.recipe, AutoencoderRecipe)
    assert (checkpoint.recipe.axes, checkpoint.recipe.decoded_range) == ("SRA", (-1, 1))

    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    with torch.no_grad():
        x = torch.from_numpy(volume).permute(2, 0, 1)[None, None] * 2 - 1
        mean = vqgan.encode(x)
        expected = torch.nn.functional.adaptive_avg_pool3d(mean, (4, 4, 4)).flatten()
    save_checkpoint(tmp_path / "own", checkpoint.recipe, checkpoint.parts)
    for embedder in (
        load_embedder(path, "cpu", {"shape": SHAPE}),
        load_embedder(tmp_path / "own", "cpu"),
        load_embedder(file[0], "cpu", FACTS),
    ):
        np.testing.assert_allclose(embedder.embed(volume[None, None])[0], expected, atol=1e-5)
    with pytest.raises(BadInput, match="an autoencoder alone"):
        load_checkpoint(path, {"shape": SHAPE}, "ldm")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"downsample": (2, 2, 2), "shape": SHAPE}, r"the largest 4, since the VQ-GAN has 2 bl"),
        ({"downsample": (4, 3, 2), "shape": SHAPE}, r"downsample \(4, 3, 2\).*powers of two"),
        ({**FACTS, "shape": (18, 24, 8)}, r"decodes to \(16, 24, 8\), but .* is \(18, 24, 8\)"),
        ({**FACTS, "shape": (12, 24, 8)}, r"latent_shape \(3, 4, 3, 6\).* multiples of 2"),
        ({**FACTS, "shape": None, "latent_shape": (8, 4, 4, 6)}, "codes have 3 channels"),
        ({**FACTS, "latent_shape": (3, 4, 4, 4)}, r"decodes to \(16, 16, 8\), but"),
        ({**FACTS, "steps": 7}, r"steps \(7\) exceed num_train_timesteps \(6\)"),
        ({**FACTS, "shape": (8192 // 2, 24, 8)}, "makes no recipe: shape"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_numbers(file, facts, message):
    with pytest.raises(BadInput, match=message) as caught:
        load_checkpoint(file[0], ModelOverrides.from_mapping(facts))
    assert "model-10.pt" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("denoise_fn.mid_block1.block1.proj.weight"), "missing: mid_block1"),
        (lambda s: s.pop("vqgan.decoder.conv_last.conv.bias"), "missing: decoder.conv_last"),
        (lambda s: s.update({"denoise_fn.null_cond_emb": torch.ones(1, 8)}), "not in the network"),
        (lambda s: s.update({"text.weight": torch.ones(1)}), "holds text.weight, which is not"),
        (lambda s: s.update({"vqgan.codebook.N": torch.ones(3)}), "codebook.N is .3,., the"),
        (
            lambda s: s.pop("denoise_fn.time_rel_pos_bias.relative_attention_bias.weight"),
            "not medicaldiffusion's video U-Net",
        ),
    ],
)
def test_a_state_with_more_or_less_is_refused(tmp_path, change, message):
    state = whole(*networks())
    change(state)
    save_whole(tmp_path / "model-1.pt", ema=state)
    with pytest.raises(BadInput, match=message):
        load_checkpoint(tmp_path / "model-1.pt", FACTS)


def test_a_folder_of_several_models_asks_which(file, tmp_path):
    for name in ("model-1.pt", "model-2.pt"):
        save_whole(tmp_path / name)
    (candidate,) = detect_families(tmp_path, FACTS)
    assert [str(fact) for fact in candidate.missing] == [
        "which file: there are model-1.pt, model-2.pt; name one"
    ]
    with pytest.raises(BadInput, match=r"several models \(model-1.pt, model-2.pt\)\. Name one"):
        load_checkpoint(tmp_path, FACTS)


def test_other_files_are_not_taken_for_it(tmp_path, tiny_ldm):
    torch.save({"conv_in.weight": torch.ones(3, 3)}, tmp_path / "other.pt")
    assert detect_families(tmp_path / "other.pt") == []
    assert detect_families(tiny_ldm)[0].family == "native"
