"""What holds for every test process, however it was started.

Each has a virtual screen of its own (pytest-xvfb): on a shared one the windows of two processes
take the keyboard from each other. Each computes with one thread: threads that wait for a busy core
cost more than they bring.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# All read when a library is first imported, so set before any test module is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_settings = tempfile.TemporaryDirectory(prefix="napari-settings-")
os.environ["NAPARI_CONFIG"] = str(Path(_settings.name) / "settings.yaml")

XVFB = sys.platform == "linux" and shutil.which("Xvfb") is not None
SCREEN = (
    XVFB or sys.platform != "linux" or not {"DISPLAY", "WAYLAND_DISPLAY"}.isdisjoint(os.environ)
)
if not SCREEN:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
elif XVFB:
    # Xvfb speaks X11, also where the desktop around it is Wayland.
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")


def pytest_collection_modifyitems(items):
    if not SCREEN:
        for item in items:
            if item.get_closest_marker("display"):
                item.add_marker(pytest.mark.skip(reason="needs Xvfb or a screen"))


@pytest.fixture(scope="session")
def tiny_ldm(tmp_path_factory):
    """A whole LDM checkpoint for volumes of 16^3 with all weights random, none left at zero."""
    return random_ldm(tmp_path_factory.mktemp("tiny-ldm"))


@pytest.fixture(scope="session")
def conditional_ldm(tmp_path_factory):
    """The same with a denoiser that knows two conditions."""
    told = {"classes": ("left", "right"), "shares": (0.5, 0.3)}
    return random_ldm(tmp_path_factory.mktemp("conditional-ldm"), 2, conditioning=told)


def random_ldm(folder, classes=0, **changes):
    import torch

    from napari_memscan.checkpoints.native_format import save_checkpoint
    from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser
    from napari_memscan.checkpoints.recipe import LDMRecipe
    from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
    from napari_memscan.volumes.preprocessing import Preprocessing, Window

    autoencoder = AutoencoderSettings(channels=(8, 8)).arguments()
    denoiser = DenoiserSettings(channels=(8, 16)).arguments(3, classes)
    recipe = LDMRecipe(
        autoencoder=autoencoder,
        denoiser=denoiser,
        latent_shape=(3, 8, 8, 8),
        scale_factor=1.0,
        steps=3,
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=Window(low=-300, high=900)),
        spacing=(0.6, 0.6, 0.6),
        **changes,
    )
    random = torch.Generator().manual_seed(0)
    weights = {}
    for part, network in (
        ("autoencoder", build_autoencoder(autoencoder)),
        ("denoiser", build_denoiser(denoiser)),
    ):
        weights[part] = {
            key: 0.1 * torch.randn(value.shape, generator=random) + (value.ndim == 1) * 0.1
            for key, value in network.state_dict().items()
        }
    save_checkpoint(folder, recipe, weights)
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """A cohort on disk: 8 training, 6 validation, 5 unseen phantoms of 16^3."""
    from napari_memscan.demo.phantoms import write_phantom_cohort

    return write_phantom_cohort(tmp_path_factory.mktemp("phantoms"), 8, 6, 5, shape=(16, 16, 16))


@pytest.fixture(scope="session")
def make_study(phantoms, tiny_ldm):
    """Return a function that creates a study over the phantoms and the tiny LDM."""
    from napari_memscan.config import GeneratorConfig, StudyConfig, VerificationConfig
    from napari_memscan.study import Study
    from napari_memscan.volumes.preprocessing import Preprocessing, Window

    def make(folder, cohort=phantoms, **changes):
        values = {
            "name": "tiny",
            "generator": GeneratorConfig(kind="ldm", path=str(tiny_ldm)),
            "preprocessing": Preprocessing(
                shape=(16, 16, 16), intensity=Window(low=-300, high=900)
            ),
            # All steps of the chain, each as short as it gets.
            "verification": VerificationConfig(
                retrieved=3, proposed=1, verified=1, planted=1, workers=1
            ),
        }
        return Study.create(folder, StudyConfig(**values | changes), cohort)

    return make


@pytest.fixture(scope="session")
def copy_study():
    """Return a function that copies a study, with all that was made in it, and opens the copy.

    What a study keeps names no place but that of its volumes and its model, relative to itself:
    copies lie as deep as the study does, in a folder of one test beside that of another.
    """
    from napari_memscan.study import Study

    def copy(study, folder):
        shutil.copytree(study.folder, folder)
        return Study.open(folder)

    return copy


@pytest.fixture(scope="session")
def quick_shaders():
    """Has vispy read the variables of each shader's source once, and not for every layer.

    A window shows the same. What is read depends on the source and on nothing else.
    """
    from vispy.gloo.program import Program

    parse, known = Program._parse_variables_from_code, {}

    def remember(program, update_variables=True):
        source = tuple(shader.code for shader in program._shaders)
        if source not in known:
            parse(program, update_variables=False)
            known[source] = program._code_variables
        program._code_variables = dict(known[source])
        if update_variables:
            program._process_pending_variables()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "_parse_variables_from_code", remember)
        yield
