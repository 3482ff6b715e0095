"""What the weights of an embedder do not say."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from napari_memscan.checkpoints.recipe_fields import FORMAT, Axes, RecipePart, Shape
from napari_memscan.volumes.preprocessing import Preprocessing


class EmbedderRecipe(RecipePart):
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


class StructuralRecipe(RecipePart):
    """An embedder whose distances follow the anatomy, as ``--kind structural`` makes it.

    Attributes
    ----------
    input_shape : (int, int, int)
        Shape of the preprocessed volumes it takes, X, Y, Z.
    working_shape : (int, int, int)
        The volume is averaged down to this shape before the first convolution.
    width, stages, cells, hidden, dim : int
        See `embedders.multiscale.MultiScaleEncoder`.
    """

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


class BackboneRecipe(RecipePart):
    """A network trained for something else, whose pooled features are the vector.

    Attributes
    ----------
    network : str
        ``ResNet`` (MedicalNet), ``SwinViT`` (SwinUNETR, VoCo), ``SegResEncoder`` (CT-FM), ``ViT``.
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

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    kind: Literal["backbone"] = "backbone"
    network: Literal["ResNet", "SwinViT", "SegResEncoder", "ViT"]
    arguments: dict[str, Any]
    input_shape: Shape
    axes: Axes = "RAS"
    normalisation: Literal["none", "zscore-nonzero"] = "none"
    pooling: Literal["mean", "first"] = "mean"
    preprocessing: Preprocessing
    files: dict[str, str] = Field({"backbone": "backbone.safetensors"})
    provenance: dict[str, Any] = Field({})


AnyEmbedderRecipe = EmbedderRecipe | StructuralRecipe | BackboneRecipe
"""Recipes of what maps a volume to a vector."""
