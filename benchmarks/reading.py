"""How long a reader waits for the next sample, and whether 500 samples leave anything behind.

Opens a real napari window and shows cases of one synthetic volume and three neighbours in it, each
time until they are drawn. Loaded ahead, against loaded on demand from the study's cache (.npy) and
from NIfTI through the preprocessing, as a study does the first time. Then 50 quick steps, of which
none may show another case than the one asked for, and many cases one after the other, after which
no layer and no memory may be left. Each goal passes or fails, and the exit code says whether all
passed.

    xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/reading.py [--size 128] [--samples 500]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil

from napari_memscan.demo.phantoms import HU_WINDOW, SPACING_MM, draw_phantom
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.preprocessing import Preprocessing, Window
from napari_memscan.volumes.reader import read_volume, write_nifti

FILES, NEIGHBOURS = 16, 3
GOAL_NEXT, GOAL_GAIN, GOAL_LEFT = 0.15, 5.0, 64.0
"""Seconds until the next sample is drawn, loaded ahead; so many times as quickly as one whose files
are met first it must be given to napari (drawing takes the same either way); MB that may be left of
all the samples."""


class Shelf:
    """Files of a few volumes under as many names as are asked for, so that none is loaded twice."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.recipe = Preprocessing(
            shape=(size,) * 3, intensity=Window(low=HU_WINDOW[0], high=HU_WINDOW[1])
        )
        self.cache = ArrayCache(folder / "cache")
        for i in range(FILES):
            volume = draw_phantom(i, (size,) * 3)
            write_nifti(volume, folder / f"{i}.nii.gz")
            self.cache.get(f"{i:04d}", lambda v=volume: self.recipe.apply(v))

    def from_cache(self, path: str) -> np.ndarray:
        """Read what a study has kept."""
        return self.cache.get(f"{int(path) % FILES:04d}", lambda: None)

    def from_nifti(self, path: str) -> np.ndarray:
        """Hash, read, preprocess and keep, as a study does with a file that it meets first."""
        file = self.folder / f"{int(path) % FILES}.nii.gz"
        key = f"{sha256(file.read_bytes()).hexdigest()}{path}"
        return self.cache.get(key, lambda: self.recipe.apply(read_volume(file)))

    def case(self, i: int):
        """Return the case of this number."""
        from napari_memscan.widgets.viewing import Case, CaseVolume

        first = i * (NEIGHBOURS + 1)
        shown = [
            CaseVolume(f"{name} of {i}", str(first + k))
            for k, name in enumerate(("synthetic", *"abc"))
        ]
        return Case(str(i), shown[0], tuple(shown[1:]))


def spacing() -> tuple[float, float, float]:
    return (SPACING_MM,) * 3


def until(done: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    while not done():
        QApplication.processEvents()
        time.sleep(0.0005)
    QApplication.processEvents()  # it is drawn here


def next_samples(
    viewing, shelf, load, first: int, n: int, ahead: bool
) -> list[tuple[float, float]]:
    """Return the seconds from asking for a sample until it is given to napari, and until drawn."""
    times = []
    for i in range(first, first + n):
        case = shelf.case(i)
        if ahead:
            viewing.expect([case])
            until(lambda: not viewing.preloading)
        there = []
        viewing.shown.connect(lambda _key, there=there: there.append(time.perf_counter()))
        began = time.perf_counter()
        viewing.show(case, load, spacing)
        until(lambda: not viewing.loading)
        times.append((there[0] - began, time.perf_counter() - began))
    return times


def wrong_case(viewing, case) -> bool:
    number = case.key
    mine = list(viewing._requests.loader.get().values())
    return any(
        layer.name.removesuffix(" ◂").split()[-1] != number
        or not any(layer.data is array for array in mine)
        for layer in viewing.layers
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12, help="samples of each way to load")
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NAPARI_CONFIG"] = str(Path(name) / "settings.yaml")
        met = measure(Path(name), options)
    print("PASS" if met else "FAIL")
    sys.exit(0 if met else 1)


def measure(folder: Path, options: argparse.Namespace) -> bool:
    """Print what was measured; return whether all goals are met."""
    import napari

    from napari_memscan.widgets.viewing import ViewerController

    shelf = Shelf(folder, options.size)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    viewing = ViewerController(viewer, memory_mb=256)
    ways = {
        "loaded ahead": (shelf.from_cache, True),
        "on demand, cache (.npy)": (shelf.from_cache, False),
        "on demand, file met first": (shelf.from_nifti, False),
    }
    at, rows = 0, {}
    for what, (load, ahead) in ways.items():
        viewing.show(shelf.case(at), load, spacing)  # the window, and another source's first
        until(lambda: not viewing.loading)
        rows[what] = next_samples(viewing, shelf, load, at + 1, options.steps, ahead)
        at += 1 + options.steps
    print(f"next sample, {options.size}^3, {NEIGHBOURS} neighbours; medians of {options.steps}, ms")
    print(f"{'':28}{'shown':>7}{'ratio':>7}{'drawn':>7}{'worst':>7}{'ratio':>7}")
    base = [statistics.median(column) for column in zip(*rows["loaded ahead"], strict=True)]
    for what, times in rows.items():
        shown, drawn = (statistics.median(column) for column in zip(*times, strict=True))
        worst = max(t for _, t in times)
        print(
            f"{what:28}{1000 * shown:7.0f}{shown / base[0]:6.1f}x{1000 * drawn:7.0f}"
            f"{1000 * worst:7.0f}{drawn / base[1]:6.1f}x"
        )

    wrong, seen, cases = [], [], [shelf.case(at + i) for i in range(50)]
    viewing.shown.connect(seen.append)
    viewing.shown.connect(
        lambda key: wrong.append(key) if wrong_case(viewing, viewing.case) else None
    )
    began = time.perf_counter()
    for i, case in enumerate(cases):
        viewing.show(case, shelf.from_cache, spacing)
        viewing.expect(cases[i + 1 : i + 1 + i % 4])
        end = time.perf_counter() + 0.05 * (i % 5)
        until(lambda end=end: time.perf_counter() >= end)
    until(lambda: not viewing.loading)
    seconds = time.perf_counter() - began
    last = seen[-1] == cases[-1].key
    print(
        f"50 quick steps in {seconds:.1f} s: {len(seen)} shown, {len(wrong)} wrong or stale; "
        f"the last one is {'' if last else 'NOT '}the one asked for"
    )

    at += 50
    process, used = psutil.Process(), []
    for i in range(options.samples):
        case = shelf.case(at + i)
        viewing.show(case, shelf.from_cache, spacing)
        viewing.expect([shelf.case(at + i + 1)])
        until(lambda: not viewing.loading)
        # What is kept on purpose, within its limit, is not left behind.
        used.append((process.memory_info().rss - viewing.cached_bytes) / 2**20)
    quarter = max(1, options.samples // 4)
    early, late = statistics.median(used[quarter : 2 * quarter]), statistics.median(used[-quarter:])
    print(
        f"{options.samples} samples: {len(viewer.layers)} layers, {len(viewing.layers)} of them "
        f"shown; memory beside what is kept: {early:.0f} MB in the second quarter, {late:.0f} MB "
        f"in the last; {viewing.cached_bytes / 2**20:.0f} of 256 MB kept"
    )
    layers = len(viewer.layers) == len(viewing.layers) == NEIGHBOURS + 1
    viewing.clear()
    print(f"after closing: {len(viewer.layers)} layers")
    layers &= len(viewer.layers) == 0
    viewer.close()
    # What a reader waits for is drawn; what loading ahead can change is all before that.
    columns = zip(*rows["on demand, file met first"], strict=True)
    demand = [statistics.median(column) for column in columns]
    goals = [
        (f"next sample drawn in less than {1000 * GOAL_NEXT:.0f} ms", base[1] < GOAL_NEXT),
        *(
            (f"{what} {GOAL_GAIN:.0f} times as quickly as on demand", on >= GOAL_GAIN * ahead)
            for what, on, ahead in zip(("shown", "drawn"), demand, base, strict=True)
        ),
        ("no wrong or stale case in 50 quick steps, and the last one is there", last and not wrong),
        (f"no layer left of {options.samples} samples", layers),
        (f"less than {GOAL_LEFT:.0f} MB left of them", late - early < GOAL_LEFT),
    ]
    for what, met in goals:
        print(f"{'PASS' if met else 'FAIL'}  {what}")
    return all(met for _, met in goals)


if __name__ == "__main__":
    main()
