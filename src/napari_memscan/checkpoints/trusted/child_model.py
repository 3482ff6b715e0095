"""Models behind a child process, with the surface of those that are loaded here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.latent_model import LatentModel, to_ras_order
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.checkpoints.trusted.client import ChildProcess
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrustedCheckpoint(Checkpoint):
    """A checkpoint whose networks run in a child process.

    `recipe`, `report` and `hash` are those of any checkpoint; `parts` is empty, since its weights
    never come here.

    Attributes
    ----------
    child : ChildProcess
        The process; it ends with `ChildProcess.close`, or when nobody holds it any more.
    """

    child: ChildProcess = field(kw_only=True)

    def weights(self, part: str) -> dict[str, Tensor]:
        """Raise BadInput: they are in another process."""
        raise BadInput(
            f"{self.path}: of a model that needs its own code, the {part} cannot be used alone. "
            "Write a plug-in around it (docs/plug-in.md)."
        )

    def build_model(self, device: torch.device) -> TrustedModel:
        """Return the LDM."""
        return TrustedModel(self)


class TrustedModel(LatentModel):
    """An LDM whose networks run in a child process; scaling and conditioning are done here.

    Parameters
    ----------
    checkpoint : TrustedCheckpoint
        Of an LDM.

    Raises
    ------
    JobFailed
        From every method: the code raises, ends, hangs, or answers with something else.
    """

    def __init__(self, checkpoint: TrustedCheckpoint) -> None:
        recipe = checkpoint.recipe
        assert isinstance(recipe, LDMRecipe)
        self.child = checkpoint.child
        super().__init__(
            recipe, _RemoteAutoencoder(recipe, self.child), _RemoteDenoiser(recipe, self.child)
        )

    def close(self) -> None:
        """End the child process."""
        self.child.close()


class _RemoteNetwork:
    """A network in the child."""

    def __init__(self, recipe: LDMRecipe, child: ChildProcess) -> None:
        self._recipe, self._child = recipe, child

    def to(self, *_: Any, **__: Any) -> Any:
        """Do nothing: where and how it runs is the child's."""
        return self

    def _call(
        self, operation: str, fits: Callable[[tuple[int, ...]], str], most: int, **tensors: Tensor
    ) -> Tensor:
        import torch

        arrays = {name: _to_array(tensor) for name, tensor in tensors.items()}
        result = self._child.call(operation, arrays, fits, most)
        return torch.from_numpy(result).to(next(iter(tensors.values())).device)


def _to_array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.float() if tensor.is_floating_point() else tensor.long()
    array: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return array


class _RemoteDenoiser(_RemoteNetwork):
    def __call__(self, latent: Tensor, level: Tensor, **condition: Tensor) -> Tensor:
        # Conditioning may have appended channels; the prediction has those of a latent.
        shape = (len(latent), self._recipe.latent_shape[0], *latent.shape[2:])
        return self._call(
            "denoise",
            expect_shape(shape),
            4 * prod(shape),
            latent=latent,
            level=level.float(),
            **condition,
        )


class _RemoteAutoencoder(_RemoteNetwork):
    def decode(self, latent: Tensor) -> Tensor:
        recipe = self._recipe
        inside = recipe.decode_shape or recipe.latent_shape[1:]
        volume = recipe.preprocessing.shape
        n = len(latent)

        def fits(shape: tuple[int, ...]) -> str:
            if tuple(latent.shape[2:]) == tuple(inside):
                good = (
                    len(shape) == 5
                    and shape[:2] == (n, 1)
                    and (to_ras_order(shape[2:], recipe.axes) == tuple(volume))
                )
                turned = "" if recipe.axes == "RAS" else f", turned from {recipe.axes}"
                return "" if good else f"({n}, 1, {', '.join(map(str, volume))}){turned}"
            good = len(shape) == 5 and shape[:2] == (n, 1)
            return "" if good else f"({n}, 1, X, Y, Z)"

        return self._call("decode", fits, 4 * n * prod(volume), latent=latent)

    def encode(self, volume: Tensor) -> Tensor:
        n, channels = len(volume), self._recipe.latent_shape[0]

        def fits(shape: tuple[int, ...]) -> str:
            good = len(shape) == 5 and shape[:2] == (n, channels)
            return "" if good else f"({n}, {channels}, x, y, z)"

        return self._call("encode_mean", fits, 4 * volume.numel() * channels, volume=volume)


def expect_shape(wanted: tuple[int, ...]) -> Callable[[tuple[int, ...]], str]:
    """Return a check for one shape, as `Child.call` takes it."""
    return lambda shape: "" if tuple(shape) == tuple(wanted) else str(tuple(wanted))


def check_child_settings(
    batch: int | str, precision: str, memory: str, decode: str
) -> tuple[int | str, str, str, str]:
    """Return settings for networks that run elsewhere: nothing can be counted or changed there.

    Parameters
    ----------
    batch, precision, memory, decode
        As `generators.ldm.LDMGenerator.choose` takes them.

    Raises
    ------
    BadInput
        One that such a network cannot be given.
    """
    for name, value, own in (("precision", precision, "float32"), ("memory", memory, "contiguous")):
        if value not in ("auto", own):
            raise BadInput(
                f"{name} '{value}': a model that runs its own code chooses that itself; leave it "
                "out."
            )
    if decode == "window":
        raise BadInput(
            "decode 'window': for a model that runs its own code, state the window in latent "
            "cells, such as window:24x24x16:0.5."
        )
    return (
        1 if batch == "auto" else batch,
        "float32",
        "contiguous",
        "whole" if decode == "auto" else decode,
    )
