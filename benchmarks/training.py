"""Training speed against a plain loop as in MONAI's 3D LDM tutorial: same networks and volumes.

Both start from the same weights with the same optimiser, learning rate, batch and loss, see the
same rows and noise at each step, and take turns, so that a busy moment meets both. The plain loop
gets its volumes from MONAI's CacheDataset and DataLoader, wholly in memory; as in the tutorial its
denoiser encodes each batch anew in LatentDiffusionInferer. Neither validates nor draws.

Passes where the median of the ratios of a step is at least 1.2, the mean loss of the last quarter
of the steps differs by at most 1 %, and that of the first step, which shows that rows and noise are
the same, by at most 0.1 %.

    python benchmarks/training.py [--size 48] [--steps 16] [--volumes 16]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser, build_scheduler
from napari_memscan.demo.phantoms import HU_WINDOW, write_phantom_cohort
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, TrainingSettings
from napari_memscan.training.trainer import WarmupCosine
from napari_memscan.volumes.preprocessing import Preprocessing, Window

NEVER = 10_000
FASTER = 1.2
"""Goal: how much faster a step is."""
SAME = 0.01
"""Largest difference of the mean of the last losses, relative."""


class Drawn:
    """Rows and noise of each step, drawn as `training.trainer` draws them."""

    def __init__(self, n: int, settings: TrainingSettings) -> None:
        self.weights, self.settings = torch.ones(n), settings
        self.random = torch.Generator()

    def __iter__(self) -> Iterator[list[int]]:
        settings = self.settings
        for step in range(settings.steps):
            self.random.manual_seed(settings.seed * 1_000_003 + step)
            again = isinstance(settings, DenoiserSettings)
            yield torch.multinomial(
                self.weights, settings.batch, replacement=again, generator=self.random
            ).tolist()

    def __len__(self) -> int:
        return self.settings.steps

    def noise(self, like: torch.Tensor) -> torch.Tensor:
        """Return the noise of this step, of the shape of a tensor."""
        return torch.randn(like.shape, generator=self.random)


def batches(paths: list[str], size: int, drawn: Drawn) -> Iterator[torch.Tensor]:
    """Yield batches, as the tutorial reads them."""
    from monai import transforms
    from monai.data import CacheDataset, DataLoader

    steps = transforms.Compose(
        [
            transforms.LoadImage(image_only=True),
            transforms.EnsureChannelFirst(),
            transforms.Orientation(axcodes="RAS", labels=None),
            transforms.ScaleIntensityRange(HU_WINDOW[0], HU_WINDOW[1], 0.0, 1.0, clip=True),
            transforms.ResizeWithPadOrCrop((size, size, size)),
        ]
    )
    yield from DataLoader(CacheDataset(paths, steps, progress=False), batch_sampler=drawn)


def plain_autoencoder(
    data: Iterator[torch.Tensor],
    settings: AutoencoderSettings,
    network: torch.nn.Module,
    drawn: Drawn,
) -> Iterator[float]:
    network.sampling = lambda mu, sigma: mu + sigma * drawn.noise(mu)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupCosine(settings.steps))
    network.train()
    for images in data:
        optimizer.zero_grad(set_to_none=True)
        output, mu, sigma = network(images)
        kl = 0.5 * (mu**2 + sigma**2 - torch.log(sigma**2 + 1e-12) - 1)
        kl = kl.flatten(1).sum(1).mean()
        loss = functional.l1_loss(output, images) + settings.kl_weight * kl
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


def plain_denoiser(
    data: Iterator[torch.Tensor],
    settings: DenoiserSettings,
    network: torch.nn.Module,
    drawn: Drawn,
    folder: Path,
    scale: float,
    shape: tuple[int, ...],
) -> Iterator[float]:
    from monai.inferers import LatentDiffusionInferer

    recipe = read_recipe(folder)
    autoencoder = build_autoencoder(recipe.autoencoder)
    autoencoder.load_state_dict(load_weights(folder, "autoencoder"))
    autoencoder.sampling = lambda mu, sigma: mu  # As memscan: no noise in the latents.
    scheduler = build_scheduler(settings.scheduler, "ddpm")
    inferer = LatentDiffusionInferer(scheduler, scale_factor=scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupCosine(settings.steps))
    network.train()
    for images in data:
        optimizer.zero_grad(set_to_none=True)
        noise = torch.randn((len(images), *shape), generator=drawn.random)
        t = torch.randint(scheduler.num_train_timesteps, (len(images),), generator=drawn.random)
        prediction = inferer(
            inputs=images,
            autoencoder_model=autoencoder,
            diffusion_model=network,
            noise=noise,
            timesteps=t,
        )
        loss = functional.mse_loss(prediction, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


def compare(name: str, ours: Iterator, plain: Iterator[float], steps: int) -> bool:
    times: list[tuple[float, float]] = []
    losses: list[tuple[float, float]] = []
    for step in range(steps):
        row, loss = {}, {}
        # Who is first changes.
        for who in ("ours", "plain") if step % 2 else ("plain", "ours"):
            start = time.perf_counter()
            found = next(ours if who == "ours" else plain)
            row[who] = time.perf_counter() - start
            loss[who] = getattr(found, "loss", found)
        times.append((row["ours"], row["plain"]))
        losses.append((loss["ours"], loss["plain"]))
    warm = times[2:]  # The first steps set up kernels, and read and cache the volumes.
    ratios = sorted(b / a for a, b in warm)
    start = abs(losses[0][0] / losses[0][1] - 1)  # Before any weight was changed: rounding only.
    # From then on Adam makes rounding larger: no step tells, but a mean of some does.
    last = np.mean(losses[-max(len(losses) // 4, 1) :], axis=0)
    apart = abs(last[0] / last[1] - 1)
    quarter, middle = len(ratios) // 4, statistics.median(ratios)
    good = middle >= FASTER and apart <= SAME and start <= 1e-3
    print(
        f"{name:12}{statistics.median(a for a, _ in warm):10.3f}"
        f"{statistics.median(b for _, b in warm):10.3f}{middle:9.2f}"
        f"   {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}"
        f"{last[0]:12.4f}{last[1]:10.4f}{apart:10.2%}{start:10.4%}   {'PASS' if good else 'FAIL'}",
        flush=True,
    )
    return good


def start_of(settings: TrainingSettings, build, arguments: dict) -> torch.nn.Module:
    """Return a network with the weights that `training.run` starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return build(arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--volumes", type=int, default=16)
    options = parser.parse_args()
    size, steps = options.size, options.steps
    rare = {"steps": steps, "validate_every": NEVER, "save_every": NEVER}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cohort = write_phantom_cohort(
            root / "volumes", options.volumes, 2, 0, shape=(size, size, size)
        )
        recipe = Preprocessing(
            shape=(size, size, size), intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1])
        )
        arrays = {
            split: np.stack([recipe.apply(row.read()) for row in cohort.rows(split)])
            for split in ("training", "validation")
        }
        paths = [row.path for row in cohort.rows("training")]
        print(f"{options.volumes} volumes of {size}^3, {torch.get_num_threads()} threads, CPU")
        print(
            f"{'':12}{'s a step':>20}{'ratio':>9}{'quartiles':>15}{'last losses':>22}{'apart':>10}"
        )
        print(f"{'':12}{'memscan':>10}{'plain':>10}{'':>24}{'memscan':>12}{'plain':>10}")
        settings = AutoencoderSettings(**rare)
        folder = root / "autoencoder"
        ours = train("autoencoder", arrays, folder, settings, device="cpu", preprocessing=recipe)
        network = start_of(settings, build_autoencoder, settings.arguments())
        drawn = Drawn(options.volumes, settings)
        plain = plain_autoencoder(batches(paths, size, drawn), settings, network, drawn)
        good = compare("autoencoder", ours, plain, steps)
        list(ours)

        denoiser = DenoiserSettings(**rare, ema_decay=0, scheduler={"prediction_type": "epsilon"})
        ours = train(
            "denoiser",
            arrays,
            root / "denoiser",
            denoiser,
            device="cpu",
            preprocessing=recipe,
            autoencoder=folder,
        )
        autoencoder = build_autoencoder(settings.arguments())
        autoencoder.load_state_dict(load_weights(folder, "autoencoder"))
        with torch.no_grad():
            volumes = torch.from_numpy(arrays["training"])[:, None]
            latents = torch.cat([autoencoder.encode(v[None])[0] for v in volumes])
        network = start_of(denoiser, build_denoiser, denoiser.arguments(latents.shape[1]))
        drawn = Drawn(options.volumes, denoiser)
        plain = plain_denoiser(
            batches(paths, size, drawn),
            denoiser,
            network,
            drawn,
            folder,
            float(1 / latents.std()),
            tuple(latents.shape[1:]),
        )
        good &= compare("denoiser", ours, plain, steps)
    goal = f"goal: {FASTER} times as fast, losses apart by at most {SAME:.0%}"
    print(f"{'PASS' if good else 'FAIL'} ({goal})")


if __name__ == "__main__":
    main()
