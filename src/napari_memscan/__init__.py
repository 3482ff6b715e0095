"""Finds the patients that a 3D latent diffusion model copied into its synthetic volumes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_memscan.detection.scan import scan
    from napari_memscan.study import Study

try:
    __version__ = version("napari-memscan")
except PackageNotFoundError:
    __version__ = "0+unknown"

__all__ = ["Study", "__version__", "scan"]


def __getattr__(name: str) -> Any:
    # Imported where used: `import napari_memscan` and `memscan --help` stay fast.
    if name == "scan":
        from napari_memscan.detection.scan import scan

        return scan
    if name == "Study":
        from napari_memscan.study import Study

        return Study
    raise AttributeError(f"module 'napari_memscan' has no attribute '{name}'")
