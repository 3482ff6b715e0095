"""Tiny studies that the whole house works on: real files, real model, real scan."""

import gc
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_memscan import jobs
from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.config import GeneratorConfig, RuleConfig, StudyConfig, VerificationConfig
from napari_memscan.demo.phantoms import draw_phantom
from napari_memscan.study import Study
from napari_memscan.volumes.importers import import_cohort
from napari_memscan.volumes.preprocessing import Preprocessing, Window
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

SHAPE = (16, 16, 16)
PREPROCESSING = Preprocessing(shape=SHAPE, intensity=Window(low=-300, high=900))
N_TRAINING, N_MADE = 8, 6
COPIES = (1, 4)
"""Which of the volumes made elsewhere are training volumes with a little noise."""


def make_cohort(folder: Path) -> Path:
    for split, first, n in (("training", 0, N_TRAINING), ("validation", 100, 20)):
        for i in range(n):
            write_nifti(
                draw_phantom(first + i, SHAPE), folder / split / f"{split[0].upper()}{i:03d}.nii.gz"
            )
    return folder


def make_volumes(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(N_MADE):
        volume = draw_phantom(i if i in COPIES else 200 + i, SHAPE)
        noise = random.normal(0, 10, SHAPE).astype(np.float32)
        write_nifti(Volume(volume.data + noise, volume.spacing), folder / f"made{i}.nii.gz")
    return folder


def make_ldm(folder: Path) -> Path:
    import torch

    common = {"spatial_dims": 3, "num_res_blocks": 1, "norm_num_groups": 4}
    recipe = LDMRecipe(
        autoencoder=common
        | {
            "in_channels": 1,
            "out_channels": 1,
            "channels": (4, 8),
            "attention_levels": (False, False),
            "latent_channels": 2,
            "with_encoder_nonlocal_attn": False,
            "with_decoder_nonlocal_attn": False,
        },
        denoiser=common
        | {
            "in_channels": 2,
            "out_channels": 2,
            "channels": (4, 8),
            "attention_levels": (False, False),
            "num_head_channels": 4,
        },
        latent_shape=(2, 8, 8, 8),
        scale_factor=1.0,
        steps=5,
        preprocessing=PREPROCESSING,
        spacing=(0.6, 0.6, 0.6),
    )
    torch.manual_seed(0)
    weights = {}
    for part, build in (("autoencoder", build_autoencoder), ("denoiser", build_denoiser)):
        module = build(getattr(recipe, part))
        # MONAI starts some layers at zero, with which half of the network would say nothing.
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        weights[part] = module.state_dict()
    save_checkpoint(folder, recipe, weights)
    return folder


def make_bundle(folder: Path, native: Path, **known: object) -> Path:
    """A MONAI bundle with the weights of a native LDM; `known` is what its configuration says."""
    import torch

    from napari_memscan.checkpoints.loading import load_weights
    from napari_memscan.checkpoints.native_format import read_recipe

    recipe = read_recipe(native)
    nets = "monai.networks.nets"
    config = {
        "autoencoder_def": {"_target_": f"{nets}.autoencoderkl.AutoencoderKL"} | recipe.autoencoder,
        "network_def": {"_target_": f"{nets}.diffusion_model_unet.DiffusionModelUNet"}
        | recipe.denoiser,
        "noise_scheduler": {
            "_target_": "monai.networks.schedulers.ddim.DDIMScheduler",
            "num_train_timesteps": 1000,
            "schedule": "scaled_linear_beta",
            "beta_start": 0.0015,
            "beta_end": 0.0195,
            "clip_sample": False,
        },
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config | known))
    for part, name in (("autoencoder", "autoencoder"), ("denoiser", "diffusion_unet")):
        torch.save(load_weights(native, part), folder / "models" / f"{name}.pt")
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, parts) -> Path:
    """Bundles that do not say everything: ``bare``, and ``unscaled`` that lacks the scale factor;
    ``code`` needs code of its own.
    """
    root = tmp_path_factory.mktemp("bundles")
    make_bundle(root / "bare", parts / "ldm")
    make_bundle(root / "unscaled", parts / "ldm", latent_shape=[2, 8, 8, 8])
    make_bundle(
        root / "code",
        parts / "ldm",
        latent_shape=[2, 8, 8, 8],
        network_def={"_target_": "scripts.own.Network", "channels": 4},
    )
    return root


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> Path:
    """A folder with a cohort, an LDM checkpoint and volumes made elsewhere."""
    root = tmp_path_factory.mktemp("parts")
    make_cohort(root / "cohort")
    make_volumes(root / "made")
    make_ldm(root / "ldm")
    return root


BY_EMBEDDING = {
    "rule": RuleConfig(name="dar2024"),
    "verification": VerificationConfig(enabled=False),
}
"""What verdicts of most studies here rest on: nothing is registered, so scans take no time."""

VERIFIED = {
    "rule": RuleConfig(q=0.2),
    "verification": VerificationConfig(verified=1, planted=5, workers=1),
}


def _study(
    folder: Path, parts: Path, generator: GeneratorConfig, settings: dict = BY_EMBEDDING
) -> Study:
    config = StudyConfig(
        name="Tiny",
        generator=generator,
        preprocessing=PREPROCESSING,
        k=4,
        embedder="low-resolution",
        **settings,
    )
    return Study.create(folder, config, import_cohort(parts / "cohort"))


@pytest.fixture(scope="session")
def _scanned(tmp_path_factory, parts) -> Path:
    folder = tmp_path_factory.mktemp("scanned") / "study"
    study = _study(folder, parts, GeneratorConfig(kind="ldm", path=str(parts / "ldm")))
    jobs.run_job(jobs.generate_volumes(study, 3))
    jobs.run_job(jobs.scan_study(study))
    return folder


@pytest.fixture(scope="session")
def _scanned_folder(tmp_path_factory, parts) -> Path:
    folder = tmp_path_factory.mktemp("folder") / "study"
    jobs.run_job(
        jobs.scan_study(
            _study(folder, parts, GeneratorConfig(kind="folder", path=str(parts / "made")))
        )
    )
    return folder


@pytest.fixture(scope="session")
def _verified(tmp_path_factory, parts) -> Path:
    folder = tmp_path_factory.mktemp("verified") / "study"
    made = GeneratorConfig(kind="folder", path=str(parts / "made"))
    jobs.run_job(jobs.scan_study(_study(folder, parts, made, VERIFIED)))
    return folder


@pytest.fixture
def verified_study(_verified, tmp_path) -> Path:
    """As `folder_study`, with candidates registered and judged by the conformal rule."""
    return Path(shutil.copytree(_verified, tmp_path / "verified-study"))


@pytest.fixture
def fresh_study(tmp_path, parts) -> Study:
    """A study over an LDM: nothing is generated."""
    return _study(tmp_path / "fresh", parts, GeneratorConfig(kind="ldm", path=str(parts / "ldm")))


@pytest.fixture
def ldm_study(tmp_path, _scanned) -> Path:
    """Folder of a study over an LDM with three samples, scanned; a copy that a test may change."""
    return Path(shutil.copytree(_scanned, tmp_path / "ldm-study"))


@pytest.fixture
def folder_study(_scanned_folder, tmp_path) -> Path:
    """Folder of a study over volumes made elsewhere, two of six copies; a test may change it."""
    return Path(shutil.copytree(_scanned_folder, tmp_path / "folder-study"))


@pytest.fixture(scope="module")
def shared_viewer(qapp, quick_shaders, _thawed):
    """One napari window for all tests of a module, since to open one takes seconds.

    A test leaves it as it found it: without layers, and without docks of its own.
    """
    import napari
    from napari._app_model import get_app_model

    with pytest.MonkeyPatch.context() as patch:
        # A module before this one may have registered the plugins, which can be done once.
        if "napari-memscan.read" in get_app_model().commands:
            patch.setattr("napari.plugins._initialize_plugins", lambda: None)
        viewer = napari.Viewer(show=True)
    gc.collect()
    gc.freeze()
    yield viewer
    # What holds the window may hold it in a circle.
    gc.unfreeze()
    viewer.close()
    qapp.processEvents()
    gc.collect()


@pytest.fixture(scope="session")
def _thawed():
    yield
    gc.unfreeze()


@pytest.fixture
def quick_garbage(_thawed):
    """Has collections of garbage look only at what comes after this.

    All libraries are walked through otherwise, also whenever napari changes its layers.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def make_napari_viewer(quick_shaders, make_napari_viewer):
    return make_napari_viewer


class Bomb:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def bomb(tmp_path) -> Path:
    """A weight file that creates ``ran`` beside it when a careless reader opens it."""
    import torch

    folder = tmp_path / "bomb"
    folder.mkdir()
    marker = folder / "ran"
    torch.save({"state_dict": Bomb(f"touch '{marker}'")}, folder / "model.pt")
    # The charge is live.
    torch.load(folder / "model.pt", weights_only=False)
    marker.unlink()
    return folder / "model.pt"
