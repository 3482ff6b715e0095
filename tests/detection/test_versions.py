"""Whoever changes what a module computes raises its VERSION: caches go by it.

Beside the VERSION of each stand a few numbers that it gives of a fixed input. They are compared
with a tolerance that other processors and numbers of threads stay within.

    python tests/detection/test_versions.py   # writes the numbers as they are now
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_memscan.detection.decision import sharpness
from napari_memscan.detection.planting import perturbations
from napari_memscan.detection.registration import verifier
from napari_memscan.detection.retrieval import correlator, search
from napari_memscan.embedders.low_resolution import LowResolutionEmbedder
from napari_memscan.volumes import preprocessing
from napari_memscan.volumes.volume import Volume

STORED = Path(__file__).with_name("numerics.json")
SHAPE = (14, 16, 12)


def draw(seed, shape=SHAPE):
    """Return a smooth volume in [0, 1] that no code of the package has made."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    volume = np.zeros(shape)
    for x, y, z, phase, size in random.uniform(0.5, 4, (8, 5)):
        volume += size * np.sin(2 * (x * axes[0] + y * axes[1] + z * axes[2]) + 3 * phase)
    low, high = volume.min(), volume.max()
    return ((volume - low) / (high - low)).astype(np.float32)


def summarise(values):
    """Return a few numbers that change where any of many does."""
    values = np.asarray(values, np.float64).ravel()
    weights = np.cos(np.arange(len(values)) * 0.7)
    parts = [values.mean(), values.std(), values.min(), values.max(), values @ weights]
    return [float(v) for v in (*parts[:4], parts[4] / len(values) ** 0.5)]


def perturbed(kind, seed=3):
    drawn = perturbations.draw_perturbation(kind, SHAPE, np.random.default_rng(seed))
    return drawn.apply(draw(1), (1.0, 1.2, 1.5))


def register():
    moved = np.roll(draw(1), 1, 0) * 0.9 + 0.05
    return verifier.Verifier((1.0, 1.2, 1.5)).verify(moved, draw(1), [np.eye(4)]).to_array()


def retrieve():
    fitted = correlator.Correlator().fit([draw(i) for i in range(5)])
    found = fitted.search(draw(2)[::-1].copy(), k=3)
    return np.concatenate([[c.index, c.similarity, *np.ravel(c.poses)] for c in found])


def find():
    fitted = search.Search(retrieved=3, verified=2).fit([draw(i) for i in range(5)])
    return fitted.find(search.SearchQuery(lambda: draw(2)[:, ::-1].copy(), (4,))).to_array()


def preprocess():
    made = preprocessing.Preprocessing(
        shape=(10, 18, 12), spacing=(1.5, 1.0, 1.0), intensity=preprocessing.Percentile()
    )
    return made.apply(Volume(draw(1) * 800 - 200, (1.0, 1.2, 1.5)))


NUMERICS = {
    "detection/registration/verifier.py": (verifier.VERSION, register, 2e-3),
    "detection/retrieval/correlator.py": (correlator.VERSION, retrieve, 1e-3),
    "detection/retrieval/search.py": (search.VERSION, find, 2e-3),
    "detection/planting/perturbations.py": (
        perturbations.VERSION,
        lambda: [perturbed("all at once"), perturbed("elastic"), perturbed("partial")],
        1e-5,
    ),
    "detection/decision/sharpness.py": (
        sharpness.VERSION,
        lambda: [sharpness.compute_sharpness(draw(i)) for i in range(3)],
        1e-6,
    ),
    "volumes/preprocessing.py": (preprocessing.VERSION, preprocess, 1e-5),
    "embedders/low_resolution.py": (
        LowResolutionEmbedder.VERSION,
        lambda: LowResolutionEmbedder((6, 6, 6)).embed(draw(1)[None, None]),
        1e-5,
    ),
}
"""Module to its VERSION, what gives its numbers, and how far another machine's may be off."""


@pytest.mark.parametrize("module", NUMERICS)
def test_a_change_of_the_numbers_raises_the_version(module):
    version, compute, tolerance = NUMERICS[module]
    stored = json.loads(STORED.read_text())[module]
    again = f"python {Path(__file__).name} writes the numbers as they are now"
    assert stored["version"] == version, f"{module}: VERSION {version} is new: {again}"
    np.testing.assert_allclose(
        summarise(compute()),
        stored["numbers"],
        rtol=tolerance,
        atol=tolerance,
        err_msg=(
            f"{module} (or what it calls) gives other numbers than before. Caches of studies hold "
            f"the old ones: raise its VERSION, then {again}."
        ),
    )


def test_numbers_that_differ_are_seen():
    """A change of one value in a hundred by one per cent is beyond every tolerance here."""
    values = np.linspace(0.1, 1, 100)
    changed = values.copy()
    changed[99] *= 1.01
    assert not np.allclose(summarise(values), summarise(changed), rtol=2e-3, atol=2e-3)


if __name__ == "__main__":
    table = {
        module: {"version": version, "numbers": summarise(compute())}
        for module, (version, compute, _) in NUMERICS.items()
    }
    STORED.write_text(json.dumps(table, indent=2) + "\n")
