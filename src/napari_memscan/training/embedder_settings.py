"""What the training of an embedder is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from napari_memscan.training.base_settings import TrainingSettings


class EmbedderSettings(TrainingSettings):
    """Settings of ``memscan train embedder`` (Dar et al. 2023, section 2.2).

    Attributes
    ----------
    working_shape : (int, int, int) or None
        Volumes are averaged down to it first; None takes half of each axis, rounded to what
        `downsample` divides.
    temperature : float
        Of the NT-Xent loss.
    flip_axes : tuple of int
        Axes that the augmented view flips, each with probability 0.5. The paper flips one.
    degrees : float
        The augmented view is rotated by up to this about each axis. The paper uses 5.
    blur, noise : float
        The augmented view is blurred by up to this many voxels of the working shape, and gets
        noise of up to this standard deviation (volumes span -1 to 1). The paper uses neither, and
        its embedder misses copies that a generator has blurred.
    """

    steps: int = Field(1000, ge=1)
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    working_shape: tuple[int, int, int] | None = None
    downsample: tuple[int, int, int] = (4, 4, 4)
    n_hiddens: int = Field(8, ge=1)
    dim: int = Field(32, ge=2)
    temperature: float = Field(0.07, gt=0)
    flip_axes: tuple[int, ...] = (0,)
    degrees: float = Field(5.0, ge=0, le=180)
    blur: float = Field(1.2, ge=0, le=8)
    noise: float = Field(0.05, ge=0)


class StructuralSettings(TrainingSettings):
    """Settings of ``memscan train embedder --kind structural``.

    Both views of a volume are augmented, by all that leaves a copy a copy; the correlation of two
    vectors is regressed onto how alike the two volumes are (after DeepSSIM++, arXiv 2609.03615).

    Attributes
    ----------
    working_shape : (int, int, int) or None
        Volumes are averaged down to it first; None takes half of each axis, 8 to 32 voxels.
    width, stages, cells, hidden, dim, dropout
        Of the network; see `MultiScaleEncoder`.
    temperature : float
        Of the NT-Xent loss.
    regression : float
        Weight of the regression beside NT-Xent.
    flip_axes : tuple of int
        Axes that views flip, each with probability 0.5.
    degrees : float
        Views are rotated by up to this about each axis.
    shift, zoom : float
        By up to this share of an axis, and of the size.
    blur : float
        Up to this many voxels of the working shape.
    noise : float
        Up to this standard deviation; volumes span 0 to 1.
    gamma : float
        Intensities to a power between 1 over this and this.
    bias : float
        Intensities change by up to this share from the middle to either end of each axis.
    elastic : float
        Near-duplicates made in training are deformed by up to this share of each axis.
    """

    steps: int = Field(600, ge=1)
    batch: int = Field(24, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    working_shape: tuple[int, int, int] | None = None
    width: int = Field(16, ge=4)
    stages: int = Field(3, ge=1, le=8)
    cells: int = Field(4, ge=1, le=16)
    hidden: int = Field(256, ge=2)
    dim: int = Field(64, ge=2)
    dropout: float = Field(0.1, ge=0, lt=1)
    temperature: float = Field(0.1, gt=0)
    regression: float = Field(5.0, ge=0)
    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0, 1, 2)
    degrees: float = Field(12.0, ge=0, le=180)
    shift: float = Field(0.08, ge=0, lt=1)
    zoom: float = Field(0.08, ge=0, lt=1)
    blur: float = Field(0.8, ge=0, le=8)
    noise: float = Field(0.05, ge=0)
    gamma: float = Field(1.6, ge=1)
    bias: float = Field(0.3, ge=0, lt=1)
    elastic: float = Field(0.12, gt=0, lt=0.5)
