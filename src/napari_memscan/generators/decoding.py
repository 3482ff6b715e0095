"""From a latent to a volume: whole where memory allows it, else window by window."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.generators import memory as needs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_memscan.checkpoints.latent_model import LatentModel

WindowShape = tuple[int, int, int]

WINDOW_OVERLAP = 0.5
"""Of two windows along an axis; blended with a Gaussian, as MONAI's bundles decode."""

MIN_WINDOW = 8
"""No window is made smaller than so many latent cells along an axis."""


def decode_latent(model: LatentModel, latent: Tensor, way: str = "whole") -> Tensor:
    """Map one latent to a volume.

    Windows differ from the whole where the autoencoder looks far: its normalisation and
    attention then see one window, not everything. So the way is written beside every sample.

    Parameters
    ----------
    model : LatentModel
        The networks.
    latent : tensor (1, C, x, y, z)
        As the denoiser makes it.
    way : str
        ``whole``, or a window as `parse_window` reads it.

    Returns
    -------
    tensor (1, 1, X, Y, Z)
        float32.
    """
    window = parse_window(way)
    if window is None:
        return model.decode(latent).float()
    from monai.inferers import sliding_window_inference

    codec = model.codec
    roi, overlap = window

    def part(cells: Tensor) -> Tensor:
        return codec.decode_unscaled(cells).float()

    volume: Tensor = sliding_window_inference(
        codec.unscaled(latent), roi, 1, part, overlap=overlap, mode="gaussian"
    )
    return volume


def parse_window(way: str) -> tuple[WindowShape, float] | None:
    """Return window and overlap of ``window:24x24x16:0.5``; None for ``whole``.

    Raises
    ------
    BadInput
        Neither of the two.
    """
    if way == "whole":
        return None
    try:
        word, shape, overlap = way.split(":")
        x, y, z = (int(n) for n in shape.split("x"))
        if word == "window" and min(x, y, z) >= 1 and 0 <= float(overlap) < 1:
            return (x, y, z), float(overlap)
    except ValueError:
        pass
    raise BadInput(
        f"decode '{way[:60]}': choose auto, whole, window, or a window of latent cells with its "
        "overlap such as window:24x24x16:0.5."
    )


def choose_decoding(model: LatentModel, device: torch.device, wish: str = "auto") -> str:
    """Return how to decode: ``whole``, or a window that fits the free memory.

    Whole where ``need * WORKSPACE <= USABLE * free``, with what one decode needs counted on the
    meta device; else the longest axis of the window is halved until it fits.

    Parameters
    ----------
    model : LatentModel
        On the meta device.
    device : torch.device
        Where it will run.
    wish : str
        ``auto``; ``window`` for windows also where the whole would fit; or the answer.

    Raises
    ------
    BadInput
        A wish that is none of these.
    """
    if wish not in ("auto", "window"):
        parse_window(wish)
        return wish
    room = needs.USABLE_SHARE * needs.get_free_bytes(device)
    latent = _make_meta_tensor((1, *model.recipe.latent_shape))
    whole = needs.estimate_need(model.decode, latent).bytes
    if wish == "auto" and whole * needs.WORKSPACE_FACTOR <= room:
        return "whole"
    recipe = model.recipe
    # Beside a window stand the volume that is put together, in float32, and its voxels' weights.
    canvas = 3 * 4 * prod(recipe.preprocessing.shape)
    crop = recipe.decode_shape or recipe.latent_shape[1:]
    window = [min(pair) for pair in zip(recipe.latent_shape[1:], crop, strict=True)]
    while True:
        window = _halve_window(window)
        part = _make_meta_tensor((1, recipe.latent_shape[0], *window))
        need = needs.estimate_need(model.codec.decode_unscaled, part).bytes
        if need * needs.WORKSPACE_FACTOR + canvas <= room or max(window) <= MIN_WINDOW:
            return f"window:{'x'.join(map(str, window))}:{WINDOW_OVERLAP}"


def _halve_window(window: list[int]) -> list[int]:
    """Halve the longest axis, and others equally long, but not below `MIN_WINDOW`."""
    longest = max(window)
    half = max(-(-longest // 2), MIN_WINDOW)
    return [half if n == longest and n > MIN_WINDOW else n for n in window]


def _make_meta_tensor(shape: tuple[int, ...]) -> Any:
    import torch

    return torch.zeros(shape, device="meta")
