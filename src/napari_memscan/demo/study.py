"""The demo study: phantoms as patients, and a small LDM that has copied some of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from napari_memscan.demo.phantoms import HU_WINDOW, write_phantom_cohort
from napari_memscan.study import GeneratorConfig, Study, StudyConfig
from napari_memscan.volumes.preprocessing import Preprocessing, Window

SHAPE = (48, 48, 48)
N_SAMPLES = 16
"""Volumes the demo generates unless told otherwise."""


def get_demo_checkpoint(name: str) -> Path:
    """Return the folder of a checkpoint that comes with the package.

    Parameters
    ----------
    name : {"ldm", "embedder"}
        Trained on the phantom cohort by `napari_memscan.demo.build`.
    """
    return Path(str(resources.files("napari_memscan.demo") / "checkpoints" / name))


def make_demo_preprocessing() -> Preprocessing:
    """Return the demo's preprocessing: no resampling, a CT window in HU."""
    return Preprocessing(shape=SHAPE, intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1]))


def create_demo_study(folder: str | Path) -> Study:
    """Write the phantom cohort and a study over the shipped checkpoints, or open it if there.

    Parameters
    ----------
    folder : path
        The study's folder. Phantoms go to ``phantoms/`` in it, a few seconds.

    Returns
    -------
    Study
        Nothing is generated yet.
    """
    folder = Path(folder)
    if (folder / "study.toml").exists():
        return Study.open(folder)
    config = StudyConfig(
        name="Phantom demo",
        generator=GeneratorConfig(kind="ldm", path=str(get_demo_checkpoint("ldm"))),
        embedder=str(get_demo_checkpoint("embedder")),
        preprocessing=make_demo_preprocessing(),
    )
    return Study.create(folder, config, write_phantom_cohort(folder / "phantoms"))
