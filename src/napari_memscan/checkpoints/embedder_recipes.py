"""What the weights of an embedder do not say."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from napari_memscan.checkpoints.recipe_fields import (
    FORMAT,
    Axes,
    CheckpointKind,
    FiniteNumber,
    ModelRecipe,
    PositiveNumber,
    Shape,
    SliceAxes,
    SlicePooling,
    format_shape,
)
from napari_memscan.volumes.preprocessing import Preprocessing


class ContrastiveRecipe(ModelRecipe):
    """A contrastive embedder (Dar et al. 2023, section 2.2).

    Attributes
    ----------
    input_shape : (int, int, int)
        Shape of the preprocessed volumes it takes, X, Y, Z.
    working_shape : (int, int, int)
        The volume is averaged down to this shape before the first convolution.
    downsample : (int, int, int)
        Powers of two: by how much the encoder shrinks each axis.
    n_hiddens : int
        Channels after the first convolution.
    dim : int
        Length of the vector.
    axes : str
        Where the axes of the network's input point to; volumes are turned to it.
    """

    use: ClassVar[CheckpointKind] = "embedder"
    _later: ClassVar[frozenset[str]] = frozenset({"axes"})

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["embedder"] = "embedder"
    network: Literal["contrastive"] = "contrastive"
    input_shape: Shape
    working_shape: Shape
    downsample: Shape
    n_hiddens: int = Field(16, ge=1)
    dim: int = Field(32, ge=2)
    axes: Axes = "RAS"
    preprocessing: Preprocessing
    files: dict[str, str] = Field({"embedder": "embedder.safetensors"})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        return f"contrastive embedder: {format_shape(self.input_shape)} to {self.dim} numbers"


class StructuralRecipe(ModelRecipe):
    """An embedder whose distances follow the anatomy, as ``--kind structural`` makes it.

    Attributes
    ----------
    input_shape : (int, int, int)
        Shape of the preprocessed volumes it takes, X, Y, Z.
    working_shape : (int, int, int)
        The volume is averaged down to this shape before the first convolution.
    width, stages, cells, hidden, dim : int
        See `embedders.multiscale_encoder.MultiScaleEncoder`.
    """

    use: ClassVar[CheckpointKind] = "embedder"

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["structural"] = "structural"
    input_shape: Shape
    working_shape: Shape
    width: int = Field(ge=4, le=4096)
    stages: int = Field(ge=1, le=8)
    cells: int = Field(ge=1, le=16)
    hidden: int = Field(ge=2, le=65_536)
    dim: int = Field(ge=2, le=65_536)
    preprocessing: Preprocessing
    files: dict[str, str] = Field({"embedder": "embedder.safetensors"})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        return f"structural embedder: {format_shape(self.input_shape)} to {self.dim} numbers"


class BackboneRecipe(ModelRecipe):
    """A network trained for something else, whose pooled features are the vector.

    Attributes
    ----------
    network : str
        A key of `backbone_networks.BACKBONES`.
    arguments : dict
        Of the network.
    input_shape : (int, int, int)
        Shape of the preprocessed volumes it takes, X, Y, Z.
    axes : str
        Where the axes of the network's input point to; volumes are turned to it.
    normalisation : {"none", "zscore-nonzero"}
        What preprocessed volumes in [0, 1] go through before the network; z-score over the voxels
        that are not 0 is MedicalNet's.
    pooling : {"mean", "first"}
        Average over all positions of the last feature map, or the first token.
    """

    use: ClassVar[CheckpointKind] = "embedder"

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["backbone"] = "backbone"
    network: str
    arguments: dict[str, Any]
    input_shape: Shape
    axes: Axes = "RAS"
    normalisation: Literal["none", "zscore-nonzero"] = "none"
    pooling: Literal["mean", "first"] = "mean"
    preprocessing: Preprocessing
    files: dict[str, str] = Field({"backbone": "backbone.safetensors"})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        return f"embedder, pooled features of a {self.network}: {format_shape(self.input_shape)}"


SliceSide = Annotated[int, Field(ge=1, le=4096)]


class SlicesRecipe(ModelRecipe):
    """A 2D network that sees a volume slice by slice; its features are pooled over slices.

    A slice is shown as radiologists view it: rows from superior (axial: anterior) downwards,
    columns from the patient's right (sagittal: anterior) onwards.

    Attributes
    ----------
    network : str
        A key of `backbone_networks.BACKBONES` that has two spatial dimensions.
    arguments : dict
        Of the network.
    slice_shape : (int, int) or None
        Rows and columns to which a slice is resized (linear); None takes slices as they are.
    mean, std : tuple of float
        Of each input channel, one or three: a slice in [0, 1] becomes (slice - mean) / std, the
        same slice for every channel.
    features : {"mean", "first"}
        A slice's vector: average over all positions of the last feature map, or the first token.
    slice_axes : str
        The axes X, Y, Z that slices are perpendicular to; each one's vector stands after the other.
    pooling : {"mean", "max", "mean+std", "gem"}
        Over the slices of an axis: see `embedders.slices.pool_slices`.
    """

    use: ClassVar[CheckpointKind] = "embedder"

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["slices"] = "slices"
    network: str
    arguments: dict[str, Any]
    slice_shape: tuple[SliceSide, SliceSide] | None = None
    mean: tuple[FiniteNumber, ...]
    std: tuple[PositiveNumber, ...]
    features: Literal["mean", "first"] = "mean"
    slice_axes: SliceAxes = "Z"
    pooling: SlicePooling = "mean+std"
    files: dict[str, str] = Field({"backbone": "backbone.safetensors"})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        return (
            f"embedder, slices along {', '.join(self.slice_axes)} through a 2D {self.network}, "
            f"{self.pooling} over slices"
        )

    @model_validator(mode="after")
    def _channels(self) -> SlicesRecipe:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError("mean and std: one number for each input channel, which are 1 or 3")
        return self

    @property
    def preprocessing(self) -> None:
        """None: volumes of any shape are taken, and intensities as a study scales them."""
        return None


class TrustedRecipe(ModelRecipe):
    """An embedder whose code runs in a process of its own: never written, never read from a file.

    Attributes
    ----------
    input_shape : (int, int, int)
        Of preprocessed volumes, X, Y, Z.
    dim : int
        Length of a vector.
    axes : str
        Where the axes of its input point to; volumes are turned to it.
    preprocessing : Preprocessing or None
        What its training volumes went through; None when it does not say.
    """

    use: ClassVar[CheckpointKind] = "embedder"

    kind: Literal["trusted"] = "trusted"
    input_shape: Shape
    dim: int = Field(ge=2, le=1_000_000)
    axes: Axes = "RAS"
    preprocessing: Preprocessing | None = None
    files: dict[str, str] = Field({})
    provenance: dict[str, Any] = Field({})

    def summarise(self) -> str:
        """Say in one line what the model is."""
        return f"embedder of its own code: {format_shape(self.input_shape)} to {self.dim} numbers"


AnyEmbedderRecipe = ContrastiveRecipe | StructuralRecipe | BackboneRecipe | SlicesRecipe
"""Recipes of what maps a volume to a vector."""
