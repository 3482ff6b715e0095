"""Figures of a scan as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_memscan.detection.result import ScanResult


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the writer's name and version the same scan gives the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def histogram(result: ScanResult) -> bytes:
    """Draw similarities of synthetic volumes over those of the null, with tau marked."""
    from matplotlib.figure import Figure

    similarities = np.array([s.similarity for s in result.samples])
    null = np.array(result.null)
    low = min(similarities.min(), null.min(), result.threshold)
    edges = np.linspace(low - 0.01, 1.0, 41)
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes: Any = figure.subplots()
    style = {"bins": edges, "density": True}
    axes.hist(null, color="#9aa5b1", label=f"null: training to validation ({len(null)})", **style)
    axes.hist(
        similarities,
        histtype="step",
        color="#b3261e",
        linewidth=2,
        hatch="//",
        label=f"synthetic to training ({len(similarities)})",
        **style,
    )
    axes.axvline(
        result.threshold,
        color="black",
        linestyle="--",
        label=f"tau {result.threshold:.{result.digits}f}",
    )
    axes.set_xlabel("similarity to the nearest volume (larger is nearer)")
    axes.set_ylabel("density")
    axes.legend(fontsize=8, loc="upper left")
    return _png(figure)


def pair(synthetic: NDArray[np.float32], training: NDArray[np.float32]) -> bytes:
    """Draw the three middle planes of a synthetic volume over those of a training volume.

    Parameters
    ----------
    synthetic, training : arrays (X, Y, Z) in [0, 1]
        Preprocessed alike, RAS.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.7), layout="constrained")
    rows: Any = figure.subplots(2, 3)
    for axes, volume, name in zip(
        rows, (synthetic, training), ("synthetic", "training"), strict=True
    ):
        for ax, (plane, image) in zip(axes, planes(volume), strict=True):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            if name == "synthetic":
                ax.set_title(plane, fontsize=8)
        axes[0].set_ylabel(name, fontsize=9)
    return _png(figure)


def planes(volume: NDArray[np.float32]) -> Sequence[tuple[str, NDArray[np.float32]]]:
    """Return the middle axial, coronal and sagittal plane of a RAS volume as it is looked at.

    Up is anterior in the axial plane and superior in the others; x grows to the right of the
    image (the patient's right side is on the left only in the radiological convention).
    """
    x, y, z = (n // 2 for n in volume.shape)
    return (
        ("axial", volume[:, :, z].T[::-1]),
        ("coronal", volume[:, y, :].T[::-1]),
        ("sagittal", volume[x, :, :].T[::-1]),
    )
