"""Cases of small volumes that tell which they are."""

import threading

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_memscan.errors import BadInput
from napari_memscan.widgets.viewing import Case, CaseVolume, ViewerController

SHAPE = (20, 16, 12)
SPACING = (0.5, 0.75, 1.0)
WAIT = 30_000
IDENTITY = tuple(np.eye(4).ravel())


class Shelf:
    """Volumes by path, as a study gives them; counts, and can be made slow or broken."""

    def __init__(self) -> None:
        self.volumes: dict[str, np.ndarray] = {}
        self.read: list[str] = []
        self.missing: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def load(self, path: str) -> np.ndarray:
        self.gate.wait(10)
        self.read.append(path)
        if path in self.missing:
            raise BadInput(f"{path}: missing. Restore this file; the others can still be read.")
        return self.volumes[path]

    def spacing(self) -> tuple[float, float, float]:
        return SPACING

    def case(self, i: int, neighbours: int = 3, transform=IDENTITY, shape=SHAPE) -> Case:
        """Neighbour 1 is the synthetic volume with a little noise, the others are others'."""
        random = np.random.default_rng(i)

        def volume() -> np.ndarray:
            noise = gaussian_filter(random.normal(size=shape), 1.5)
            return np.clip(0.5 + noise / noise.std() / 5, 0, 1).astype(np.float32)

        paths = [f"/secret/{kind}{i}.nii.gz" for kind in ("made", *"abcdef"[:neighbours])]
        for path in paths:
            self.volumes[path] = volume()
        if neighbours:
            near = self.volumes[paths[0]] + 0.02 * random.normal(size=shape)
            self.volumes[paths[1]] = np.clip(near, 0, 1).astype(np.float32)
        shown = [
            CaseVolume(f"{title} of {i}", path, transform)
            for title, path in zip("SABCDEF", paths, strict=False)
        ]
        return Case(f"case {i}", CaseVolume(shown[0].title, paths[0]), tuple(shown[1:]))

    def of(self, case: Case) -> list[np.ndarray]:
        return [self.volumes[shown.path] for shown in case.all]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def show(shelf, qtbot):
    """Return a function that shows a case and waits until it is seen."""

    def call(viewing: ViewerController, case: Case, **more) -> None:
        viewing.show(case, shelf.load, shelf.spacing, **more)
        qtbot.waitUntil(lambda: not viewing.loading, timeout=WAIT)

    return call


@pytest.fixture
def settle(qtbot):
    """Return a function that waits until what was asked for is on the canvas."""

    def call(viewing: ViewerController) -> None:
        qtbot.waitUntil(lambda: not viewing.loading, timeout=WAIT)

    return call


@pytest.fixture
def viewer():
    """napari's model, without a window."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def viewing(viewer, qtbot):
    """A controller over napari's model."""
    viewing = ViewerController(viewer, memory_mb=64)
    yield viewing
    viewing.clear()
    qtbot.waitUntil(lambda: not viewing.preloading, timeout=WAIT)
