"""Training speed against a plain loop as in MONAI's 3D LDM tutorial: same networks and volumes.

Both start from the same weights with the same optimiser, learning rate, batch and loss, and take
turns step by step, so that a busy moment meets both. The plain loop gets its volumes from MONAI's
CacheDataset and DataLoader, wholly in memory; as in the tutorial its denoiser encodes each batch
anew in LatentDiffusionInferer. Neither validates nor draws. The ratio is the median over steps.

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
from napari_memscan.checkpoints.native import read_recipe
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser, build_scheduler
from napari_memscan.demo.phantoms import HU_WINDOW, write_cohort
from napari_memscan.training.fitting import Rate
from napari_memscan.training.run import train
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, Settings
from napari_memscan.volumes.preprocessing import Preprocessing, Window

NEVER = 10_000


def batches(paths: list[str], size: int, batch: int) -> Iterator[torch.Tensor]:
    """Yield batches for ever, as the tutorial reads them."""
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
    loader = DataLoader(
        CacheDataset(paths, steps, progress=False), batch_size=batch, shuffle=True, drop_last=True
    )
    while True:
        yield from loader


def plain_autoencoder(
    data: Iterator[torch.Tensor], settings: AutoencoderSettings, network: torch.nn.Module
) -> Iterator[float]:
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, Rate(settings.steps))
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
    folder: Path,
    scale: float,
    shape: tuple[int, ...],
) -> Iterator[float]:
    from monai.inferers import LatentDiffusionInferer

    recipe = read_recipe(folder, "autoencoder")
    autoencoder = build_autoencoder(recipe.autoencoder)
    autoencoder.load_state_dict(load_weights(folder, "autoencoder"))
    scheduler = build_scheduler(settings.scheduler, "ddpm")
    inferer = LatentDiffusionInferer(scheduler, scale_factor=scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, Rate(settings.steps))
    network.train()
    for images in data:
        optimizer.zero_grad(set_to_none=True)
        noise = torch.randn((len(images), *shape))
        t = torch.randint(0, scheduler.num_train_timesteps, (len(images),)).long()
        prediction = inferer(
            inputs=images, autoencoder_model=autoencoder, diffusion_model=network, noise=noise,
            timesteps=t,
        )  # fmt: skip
        loss = functional.mse_loss(prediction, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


def compare(name: str, ours: Iterator, plain: Iterator[float], steps: int) -> None:
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
    last = losses[-max(len(losses) // 4, 1) :]
    quarter = len(ratios) // 4
    print(
        f"{name:12}{statistics.median(a for a, _ in warm):10.3f}"
        f"{statistics.median(b for _, b in warm):10.3f}{statistics.median(ratios):9.2f}"
        f"   {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}"
        f"{np.mean([a for a, _ in last]):12.4f}{np.mean([b for _, b in last]):10.4f}"
    )


def start_of(settings: Settings, build, arguments: dict) -> torch.nn.Module:
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
        cohort = write_cohort(root / "volumes", options.volumes, 2, 0, shape=(size, size, size))
        recipe = Preprocessing(
            shape=(size, size, size), intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1])
        )
        arrays = {
            split: np.stack([recipe.apply(row.read()) for row in cohort.rows(split)])
            for split in ("training", "validation")
        }
        paths = [row.path for row in cohort.rows("training")]
        print(f"{options.volumes} volumes of {size}^3, {torch.get_num_threads()} threads, CPU")
        print(f"{'':12}{'s a step':>20}{'ratio':>9}{'quartiles':>15}{'last losses':>21}")
        print(f"{'':12}{'memscan':>10}{'plain':>10}{'':>24}{'memscan':>12}{'plain':>10}")
        settings = AutoencoderSettings(**rare)
        folder = root / "autoencoder"
        ours = train("autoencoder", arrays, folder, settings, device="cpu", preprocessing=recipe)
        network = start_of(settings, build_autoencoder, settings.arguments())
        plain = plain_autoencoder(batches(paths, size, settings.batch), settings, network)
        compare("autoencoder", ours, plain, steps)
        list(ours)

        denoiser = DenoiserSettings(**rare, ema_decay=0, scheduler={"prediction_type": "epsilon"})
        ours = train(
            "denoiser", arrays, root / "denoiser", denoiser, device="cpu", preprocessing=recipe,
            autoencoder=folder,
        )  # fmt: skip
        autoencoder = build_autoencoder(settings.arguments())
        autoencoder.load_state_dict(load_weights(folder, "autoencoder"))
        with torch.no_grad():
            volumes = torch.from_numpy(arrays["training"])[:, None]
            latents = torch.cat([autoencoder.encode(v[None])[0] for v in volumes])
        network = start_of(denoiser, build_denoiser, denoiser.arguments(latents.shape[1]))
        plain = plain_denoiser(
            batches(paths, size, denoiser.batch), denoiser, network, folder,
            float(1 / latents.std()), tuple(latents.shape[1:]),
        )  # fmt: skip
        compare("denoiser", ours, plain, steps)


if __name__ == "__main__":
    main()
