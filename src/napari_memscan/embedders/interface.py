"""What every embedder is, and what most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.volumes.preprocessing import Preprocessing
from napari_memscan.volumes.validation import check_finite

if TYPE_CHECKING:
    import torch

    from napari_memscan.checkpoints.checkpoint import Checkpoint

R = TypeVar("R")


@runtime_checkable
class Embedder(Protocol):
    """Maps volumes to vectors; similarity is the Pearson correlation of two vectors.

    `BaseEmbedder` has all of it but `name`, `dim`, `hash` and the mapping itself.

    Attributes
    ----------
    name : str
        For people: on screen and in the report.
    dim : int
        Length of a vector.
    hash : str
        Changes whenever the vectors would: weights, settings, version. Part of the cache key.
    training_free : bool
        It has learnt nothing: it sees coarse structure only.
    warning : str
        What a reader of the similarities must know; empty for nothing.
    """

    name: str
    dim: int
    hash: str
    training_free: bool
    warning: str

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """Shape of the volumes it takes; None takes any."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What the volumes it was trained on went through; None where nothing is known."""

    @property
    def device(self) -> torch.device | None:
        """Where its network runs; None where there is none, or in a process of its own."""

    def adapt_to(self, preprocessing: Preprocessing) -> None:
        """Take note of what the volumes to come go through, so that they are seen as known."""

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map preprocessed volumes (N, 1, X, Y, Z), float32, to vectors (N, dim), float32.

        A volume's vector does not depend on the others in the batch, to the last bit.

        Raises
        ------
        BadInput
            The shape is not `input_shape`, or a value is not finite.
        """


class BaseEmbedder(ABC):
    """An embedder that takes its volumes one at a time.

    Convolutions and sums round differently at other batch sizes.
    """

    name: str
    dim: int
    hash: str
    training_free = False
    warning = ""
    input_shape: tuple[int, int, int] | None = None
    preprocessing: Preprocessing | None = None
    device: torch.device | None = None

    def adapt_to(self, preprocessing: Preprocessing) -> None:  # noqa: B027 - most need nothing
        """Change nothing; see `Embedder.adapt_to`."""

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        batch = np.asarray(batch, np.float32)
        if batch.ndim != 5 or batch.shape[1] != 1:
            raise BadInput(f"an embedder takes (N, 1, X, Y, Z); this batch is {batch.shape}.")
        if self.input_shape is not None and batch.shape[2:] != tuple(self.input_shape):
            raise BadInput(
                f"this embedder takes volumes of {' x '.join(map(str, self.input_shape))}, these "
                f"are {' x '.join(map(str, batch.shape[2:]))}. Set preprocessing.shape to what it "
                "takes, or use another embedder."
            )
        check_finite(batch, "a volume to embed")
        vectors = [self._embed_volume(volume) for volume in batch[:, 0]]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    @abstractmethod
    def _embed_volume(self, volume: NDArray[np.float32]) -> NDArray[Any]:
        """Return the vector (dim,) of one volume (X, Y, Z), finite and of the right shape."""


class CheckpointEmbedder(BaseEmbedder, Generic[R]):
    """An embedder whose network lies in a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        Loaded; its recipe is of the kind that the class is made for.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...

    Attributes
    ----------
    recipe : Recipe
        All that the weights do not say.

    Raises
    ------
    BadInput
        Recipe and weights do not fit.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
    """Both are in the hash: a change of the numbers asks for another version."""

    device: torch.device

    def __init__(self, checkpoint: Checkpoint, device: str = "auto") -> None:
        from napari_memscan.checkpoints.device import choose_device

        self.recipe: R = checkpoint.recipe  # type: ignore[assignment]
        self.preprocessing = checkpoint.recipe.preprocessing
        self.hash = hash_json(
            {"embedder": self.KIND, "version": self.VERSION, "checkpoint": checkpoint.hash}
        )
        network = self._build(checkpoint)
        self.device = choose_device(device)
        self._network: Any = network.to(self.device).eval()

    @abstractmethod
    def _build(self, checkpoint: Checkpoint) -> Any:
        """Return the network with its weights, and set `name`, `dim` and `input_shape`."""

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (N, 1, X, Y, Z) to (N, dim); see `Embedder.embed`."""
        import torch

        with torch.inference_mode():
            return super().embed(batch)
