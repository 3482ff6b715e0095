"""Our sampling loop against MONAI's ``sample()``: same networks, noise and steps, in one run.

The two take turns, so that a busy moment meets both; the ratio is the median over pairs. Then what
each way of running the networks brings, and how soon a stop is heard.

    python benchmarks/sampling.py [--pairs 15] [--steps 25] [--ldm CHECKPOINT]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from napari_memscan.demo.study import get_demo_checkpoint
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.sample import DenoisingStep, GeneratedSample


def ours(generator: LDMGenerator, seed: int, steps: int, **settings) -> None:
    for _ in generator.generate([seed], steps=steps, **settings):
        pass


def monai(generator: LDMGenerator, seed: int, steps: int) -> None:
    from monai.inferers import LatentDiffusionInferer

    from napari_memscan.checkpoints.networks import build_scheduler

    recipe, model = generator.recipe, generator.model
    scheduler = build_scheduler(recipe.scheduler, recipe.sampler)
    scheduler.set_timesteps(steps)
    noise = torch.randn((1, *recipe.latent_shape), generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        LatentDiffusionInferer(scheduler, recipe.scale_factor).sample(
            noise, model.codec.network, model.denoiser, scheduler, verbose=False
        )


def timed(run, *arguments, **options) -> tuple[float, float]:
    """Return seconds by the clock, and of the processor: others that compute count in one only."""
    start, own = time.perf_counter(), time.process_time()
    run(*arguments, **options)
    return time.perf_counter() - start, time.process_time() - own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--ldm", type=Path, default=get_demo_checkpoint("ldm"))
    options = parser.parse_args()
    generator, steps = LDMGenerator(options.ldm, "cpu"), options.steps
    plain = {"batch": 1, "precision": "float32", "memory": "contiguous", "decode": "whole"}
    ours(generator, 0, 2, **plain)
    monai(generator, 0, 2)
    pairs = []
    for seed in range(options.pairs):
        # Who is first changes, too.
        if seed % 2:
            a = timed(ours, generator, seed, steps, **plain)
            b = timed(monai, generator, seed, steps)
        else:
            b = timed(monai, generator, seed, steps)
            a = timed(ours, generator, seed, steps, **plain)
        pairs.append((a, b))
    print(f"one sample, {steps} steps and decode, {torch.get_num_threads()} threads")
    print(f"{'medians of':26}{'seconds':>9}{'of the processor':>18}")
    names = {"memscan, one step a time": 0, "MONAI sample()": 1}
    for name, who in names.items():
        clock, own = (statistics.median(pair[who][what] for pair in pairs) for what in (0, 1))
        print(f"{name:26}{clock:9.3f}{own:18.3f}")
    quarter = len(pairs) // 4
    for what, name in enumerate(("seconds", "of the processor")):
        ratios = sorted(a[what] / b[what] for a, b in pairs)
        print(
            f"ratio, {name:19}{statistics.median(ratios):9.3f}   "
            f"(half of {len(pairs)} pairs: {ratios[quarter]:.3f} to {ratios[-quarter - 1]:.3f})"
        )

    print(f"\n{'way':42}{'CPU s each':>11}{'faster':>8}")
    chosen = generator.choose()
    automatic = {"batch": chosen.batch, "precision": chosen.precision, "memory": chosen.memory}
    ways = {
        "batch=1 float32 contiguous": plain,
        "batch=1 float32 channels_last": {**plain, "memory": "channels_last"},
        "batch=2 float32 contiguous": {**plain, "batch": 2},
        "batch=4 float32 contiguous": {**plain, "batch": 4},
        f"chosen here: {' '.join(map(str, automatic.values()))}": {**plain, **automatic},
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(3):
        for way, settings in ways.items():
            start = time.process_time()
            made = [
                event
                for event in generator.generate(range(4), steps=steps, **settings)
                if isinstance(event, GeneratedSample)
            ]
            seconds[way].append((time.process_time() - start) / len(made))
    first = min(seconds["batch=1 float32 contiguous"])
    for way, values in seconds.items():
        print(f"{way:42}{min(values):11.3f}{first / min(values):7.2f}x")

    run = generator.generate([0], steps=steps, **plain)
    start = time.perf_counter()
    assert isinstance(next(run), DenoisingStep)
    step = time.perf_counter() - start
    start = time.perf_counter()
    run.close()
    print(
        f"\na stop is heard within one step ({step * 1e3:.0f} ms), then takes "
        f"{(time.perf_counter() - start) * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
