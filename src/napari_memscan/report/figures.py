"""Figures of a scan as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.report.conclusion import get_class_limits, name_threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_memscan.detection.results.scan_result import ScanResult

DPI = 130


def render_png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes."""
    buffer = io.BytesIO()
    # Without the writer's name and version the same scan gives the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def draw_histogram(result: ScanResult) -> bytes:
    """Draw what verdicts rest on over its null, with threshold and class limits marked."""
    from matplotlib.figure import Figure

    scored = result.measure == "score"
    digits = 3 if scored else result.digits
    values = np.array([result.value(s) for s in result.samples])
    null = np.array(result.null)
    lines = [] if result.threshold is None else [result.threshold]
    limits = get_class_limits(result)
    low = min(values.min(), null.min(), *lines, *limits.values())
    edges = np.linspace(low - 0.01, 1.0, 41)
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    style = {"bins": edges, "density": True}
    between = "training to validation" if result.rule == "dar2024" else "validation to training"
    axes.hist(null, color="#9aa5b1", label=f"null: {between} ({len(null)})", **style)
    axes.hist(
        values,
        histtype="step",
        color="#b3261e",
        linewidth=2,
        hatch="//",
        label=f"synthetic to training ({len(values)})",
        **style,
    )
    for value in lines:
        label = f"{name_threshold(result)} {value:.{digits}f}"
        axes.axvline(value, color="black", linestyle="--", linewidth=2, label=label)
    for (name, value), dashes in zip(limits.items(), ("-.", ":"), strict=False):
        axes.axvline(
            value, color="#31507a", linestyle=dashes, linewidth=1.2, label=f"{name} {value:.3f}"
        )
    what = "score after registration" if scored else "similarity"
    axes.set_xlabel(f"{what} of the nearest volume (larger is nearer)")
    axes.set_ylabel("density")
    figure.legend(fontsize=8, loc="outside upper left", ncols=2)
    return render_png(figure)


def draw_pair(
    synthetic: NDArray[np.float32],
    training: NDArray[np.float32],
    difference: NDArray[np.float32] | None = None,
) -> bytes:
    """Draw the three middle planes of a synthetic volume over those of a training volume.

    Parameters
    ----------
    synthetic, training : arrays (X, Y, Z) in [0, 1]
        Preprocessed alike, RAS.
    difference : array (X, Y, Z), optional
        Synthetic minus training volume after registration, in [-1, 1]; a third row. NaN, there and
        in `training`, is where the training volume does not reach: hatched.
    """
    from matplotlib.figure import Figure

    # Lighter and darker than middle grey, not red and blue: those are one grey in print.
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1}
    signed = {"cmap": "gray", "vmin": -0.5, "vmax": 0.5}
    shown = [("synthetic", synthetic, grey), ("training", training, grey)]
    if difference is not None:
        shown[1] = ("training,\nregistered", training, grey)
        shown.append(("difference\n(\u22120.5 to 0.5)", difference, signed))
    figure = Figure(figsize=(5.4, 1.85 * len(shown)), layout="constrained")
    rows: Any = figure.subplots(len(shown), 3)
    for axes, (name, volume, style) in zip(rows, shown, strict=True):
        for ax, (plane, image) in zip(axes, get_middle_planes(volume), strict=True):
            ax.patch.set(facecolor="white", edgecolor="#7b8794", hatch="////")
            ax.imshow(image, interpolation="nearest", **style)
            ax.set_xticks([])
            ax.set_yticks([])
            if name == "synthetic":
                ax.set_title(plane, fontsize=8)
        axes[0].set_ylabel(name, fontsize=8)
    return render_png(figure)


def get_middle_planes(volume: NDArray[np.float32]) -> Sequence[tuple[str, NDArray[np.float32]]]:
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
