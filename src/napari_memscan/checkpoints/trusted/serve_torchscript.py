"""In the child: a TorchScript program as an embedder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.trusted.wire import ModelRefused

if TYPE_CHECKING:
    from torch import Tensor


class TorchScriptModel:
    """A scripted or traced network (N, 1, X, Y, Z) -> (N, d).

    Parameters
    ----------
    path : str
        What ``torch.jit.save`` wrote.
    shape : (int, int, int)
        Of the volumes it takes, as its axes are.
    device : str
        Where it runs.
    """

    def __init__(self, path: str, shape: list[int], device: str) -> None:
        import torch

        self.device = device
        jit: Any = torch.jit
        self._network = jit.load(path, map_location=device).eval()
        self.shape = tuple(shape)
        first = next((p for p in self._network.parameters() if p.ndim in (4, 5)), None)
        if first is not None and first.ndim == 4:
            raise ModelRefused(
                "its first convolution is 2D: it takes slices, not volumes; write a plug-in that "
                "chooses the slices"
            )
        if first is not None and first.shape[1] != 1:
            raise ModelRefused(
                f"its first convolution takes {first.shape[1]} channels, a volume has one; write a "
                "plug-in that repeats it"
            )
        with torch.inference_mode():
            try:
                made = self._network(torch.zeros((1, 1, *self.shape), device=device))
            except RuntimeError as error:
                text = [line for line in str(error).splitlines() if line.strip()]
                raise ModelRefused(
                    f"it does not take (1, 1, {', '.join(map(str, self.shape))}): "
                    f"{text[-1].strip()[:200]}; is shape right?"
                ) from error
        if not isinstance(made, torch.Tensor) or made.ndim != 2 or len(made) != 1:
            what = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
            raise ModelRefused(f"it returns {what} for one volume; one vector (1, d) is expected")
        self._dim = made.shape[1]

    def describe(self) -> dict[str, Any]:
        """Return the sizes."""
        return {"kind": "embedder", "input_shape": list(self.shape), "dim": self._dim}

    def embed(self, batch: Tensor) -> Any:
        """Map volumes (N, 1, X, Y, Z) to vectors (N, d)."""
        return self._network(batch)
