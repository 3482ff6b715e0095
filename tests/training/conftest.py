"""A cohort of cells, and trainings of a few steps on it."""

import numpy as np
import pytest

from napari_memscan.training import resources
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing


@pytest.fixture(scope="module")
def memory_told_once():
    """Count what a training keeps once for the same networks, settings and volumes.

    It takes as long as a third of the few steps of most tests, and many train the same again.
    """
    known = {}
    count = resources.estimate_needed_bytes

    def remember(task, settings, processes=1, *, half=False):
        one = task.data["training"][0]
        shapes = [tuple(part.shape) for part in (one if isinstance(one, list | tuple) else [one])]
        key = (type(task), settings.model_dump_json(), repr(task.network), *shapes, processes, half)
        if key not in known:
            known[key] = count(task, settings, processes, half=half)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "estimate_needed_bytes", remember)
        yield


@pytest.fixture(scope="session")
def cells():
    """Six training and three validation volumes of 16^3."""
    random = np.random.default_rng(0)
    values = random.random((9, 4, 4, 4))
    volumes = values.repeat(4, 1).repeat(4, 2).repeat(4, 3).astype(np.float32)
    return {"training": volumes[:6], "validation": volumes[6:]}


@pytest.fixture(scope="session")
def fit():
    """Return a function that trains to the end and returns what was reported."""

    def run(part, arrays, out, settings, **more):
        shape = arrays["training"].shape[1:]
        recipe = Preprocessing(shape=shape, intensity=MinMax())
        return list(train(part, arrays, out, settings, preprocessing=recipe, device="cpu", **more))

    return run


@pytest.fixture(scope="session")
def fitted_autoencoder(cells, fit, tmp_path_factory):
    """A folder with an autoencoder after a few steps; its latents are 3 x 8^3."""
    out = tmp_path_factory.mktemp("fitted-autoencoder")
    fit("autoencoder", cells, out, AutoencoderSettings(steps=6, channels=(8, 8), batch=2))
    return out
