"""Finds the patients that a 3D latent diffusion model copied into its synthetic volumes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from napari_memscan.detection.scan import scan
    from napari_memscan.study import Study

try:
    __version__ = version("napari-memscan")
except PackageNotFoundError:
    __version__ = "0+unknown"

__all__ = ["Study", "__version__", "jobs", "scan"]

# Imported where used: `import napari_memscan` and `memscan --help` stay fast.
__getattr__, _, _ = lazy_loader.attach(
    __name__, submodules=["jobs"], submod_attrs={"detection.scan": ["scan"], "study": ["Study"]}
)


def __dir__() -> list[str]:
    """Return the public names only, which is what completion in a shell offers."""
    return sorted(__all__)
