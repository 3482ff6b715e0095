"""Near-duplicates and novel volumes from trained generators, for `benchmarks/detection.py`.

An autoencoder learns all training volumes and a few of subjects that are in no split (B); then one
denoiser is overfitted on a few training volumes (A) and another, by the same recipe, on B. What the
first draws repeats training volumes, what the second draws cannot: it never met them. Both go
through one decoder, so blur and artefacts are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from _cohorts import Split
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.roundtrip import reconstruct_volume
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

RATIO = 1 / 3
"""Distance to the nearest over that to the second: below it a sample is memorised (Gu et al. 2023,
arXiv 2310.02664; Yoon et al. 2023)."""

# A small latent and a hot learning rate: eight volumes are known by heart after 1000 steps, where
# a latent four times as large and 1e-3 gave mixtures of them (median ratio 0.82).
AUTOENCODER = AutoencoderSettings(
    steps=1200, channels=(8, 16, 32, 64), latent_channels=8, learning_rate=2e-3
)
DENOISER = DenoiserSettings(
    steps=1200, batch=16, channels=(64, 64), learning_rate=2e-3, ema_decay=0.99, sample_steps=25
)


@dataclass(frozen=True)
class Generated:
    """Samples that repeat a training volume, samples that cannot, and what was left out.

    `ratios` are those of all samples drawn: of A, then of B. `decode` is what the autoencoder of
    both makes of a volume.
    """

    near: list[np.ndarray]
    sources: list[int]
    novel: list[np.ndarray]
    n_drawn: int
    ratios: tuple[np.ndarray, np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        left_out = [self.n_drawn - len(part) for part in (self.near, self.novel)]
        medians = [float(np.median(r)) for r in self.ratios]
        return (
            f"{len(self.near)} generated near-duplicates and {len(self.novel)} generated novel "
            f"ones; left out, since not near one of their own volumes (ratio above {RATIO:.2f}), "
            f"{left_out[0]} and {left_out[1]} of {self.n_drawn}; median ratios "
            f"{medians[0]:.2f} and {medians[1]:.2f}"
        )


def make_recipe(shape: tuple[int, int, int]) -> Preprocessing:
    """Return a recipe for checkpoints; volumes of the benchmark are preprocessed already."""
    return Preprocessing(shape=shape, intensity=MinMax())


def train_once(part: str, out: Path, volumes: np.ndarray, settings, **more) -> Path:
    """Train a part unless a finished checkpoint is there already; return its folder."""
    if not (out / "recipe.json").exists():
        arrays = {"training": volumes, "validation": volumes[:2]}
        recipe = make_recipe(volumes.shape[1:])
        for _ in train(part, arrays, out, settings, device="cpu", preprocessing=recipe, **more):
            pass
    return out


def generate(
    study: Split,
    folder: Path,
    n_memorised: int,
    n: int,
    autoencoder: AutoencoderSettings = AUTOENCODER,
    denoiser: DenoiserSettings = DENOISER,
) -> Generated:
    """Overfit both generators below `folder`, or take what is there, and draw n samples of each."""
    chosen = study.memorised[:n_memorised]
    own = {"a": study.training.volumes[chosen], "b": study.apart.volumes}
    both = np.concatenate([study.training.volumes, study.apart.volumes])
    codec = train_once("autoencoder", folder / "autoencoder", both, autoencoder)
    drawn: dict[str, list[np.ndarray]] = {}
    nearest: dict[str, np.ndarray] = {}
    ratios: dict[str, np.ndarray] = {}
    for number, (name, volumes) in enumerate(own.items()):
        out = train_once(
            "denoiser", folder / f"denoiser-{name}", volumes, denoiser, autoencoder=codec
        )
        seeds = [1_000_000 * (number + 1) + i for i in range(n)]
        drawn[name] = list(_samples(out, seeds))
        nearest[name], ratios[name] = _nearest(codec, drawn[name], volumes)
    kept = {name: np.flatnonzero(r < RATIO) for name, r in ratios.items()}
    return Generated(
        [drawn["a"][i] for i in kept["a"]],
        [chosen[nearest["a"][i]] for i in kept["a"]],
        [drawn["b"][i] for i in kept["b"]],
        n,
        (ratios["a"], ratios["b"]),
        partial(reconstruct_volume, LDMGenerator(folder / "denoiser-a", device="cpu")),
    )


def _samples(folder: Path, seeds: list[int]) -> Iterator[np.ndarray]:
    from napari_memscan.generators.sample import GeneratedSample

    settings = {"batch": 4, "precision": "float32", "memory": "contiguous", "threads": 1}
    for event in LDMGenerator(folder, device="cpu").generate(seeds, **settings):
        if isinstance(event, GeneratedSample):
            yield np.clip(event.volume.data, 0, 1).astype(np.float32)


def _nearest(
    codec: Path, samples: list[np.ndarray], own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each sample the nearest of the volumes its generator learnt, and the ratio.

    In the autoencoder's latent space, which no detector of the benchmark looks at.
    """
    import torch

    from napari_memscan.checkpoints.loading import load_weights
    from napari_memscan.checkpoints.native_format import read_recipe
    from napari_memscan.checkpoints.networks import build_autoencoder, load_strict

    network = build_autoencoder(read_recipe(codec).autoencoder)
    load_strict(network, load_weights(codec, "autoencoder"), codec)
    network.eval()

    def latents(volumes) -> np.ndarray:
        with torch.inference_mode():
            rows = [network.encode(torch.from_numpy(v)[None, None])[0].flatten() for v in volumes]
        return torch.stack(rows).numpy()

    ours, theirs = latents(samples), latents(own)
    distances = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    order = np.argsort(distances, axis=1)
    two = np.take_along_axis(distances, order[:, :2], axis=1)
    return order[:, 0], two[:, 0] / two[:, 1]
