"""What a denoiser is told besides latent and noise level."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from napari_memscan.checkpoints.recipe_fields import FiniteNumber, RecipePart, Regions
from napari_memscan.files import hash_json


class Conditioning(RecipePart):
    """What the denoiser is told besides latent and noise level.

    The same for every sample, but for `classes`: of these each sample has its own.

    Attributes
    ----------
    context : tuple of float or None
        Values for cross-attention, given to the network as (N, 1, len(context)).
    names : tuple of str
        What the values of `context` are, for people.
    concatenate : bool
        `context` is also appended to the latent, one constant channel a value.
    class_label : int or None
        Class embedding, such as the modality of NVIDIA's MAISI models.
    classes : tuple of str
        Conditions by name, with class labels 1, 2, ...; 0 is no condition.
    shares : tuple of float
        Share of the training volumes with each of them; the rest had none.
    spacing : bool
        The network is told the voxel size, in mm times 100 (MAISI).
    regions : tuple of two tuples of four float, or None
        Top and bottom body region, one-hot (MAISI with DDPM).
    guidance : float or None
        Classifier-free guidance: prediction = without + guidance * (with - without), where
        "without" has class label 0, or `fill` for every value of `context`.
    fill : float
        Stands for "no condition" in `context`.
    """

    _later: ClassVar[frozenset[str]] = frozenset({"classes", "shares"})

    context: tuple[FiniteNumber, ...] | None = None
    names: tuple[str, ...] = ()
    concatenate: bool = False
    class_label: int | None = Field(None, ge=0)
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    spacing: bool = False
    regions: Regions | None = None
    guidance: FiniteNumber | None = None
    fill: FiniteNumber = -1.0

    @model_validator(mode="after")
    def _fits(self) -> Conditioning:
        if self.concatenate and not self.context:
            raise ValueError("concatenate: there is no context to append")
        if self.names and len(self.names) != len(self.context or ()):
            raise ValueError("names and context must be equally many")
        if self.classes and self.class_label is not None:
            raise ValueError("classes and class_label: one of the two")
        once = len(set(self.classes)) == len(self.classes) == len(self.shares)
        if not once or sum(self.shares) > 1 + 1e-6:
            raise ValueError("classes: each once, with a share; shares make at most 1")
        guided = self.classes or self.class_label is not None or self.context is not None
        if self.guidance is not None and not guided:
            raise ValueError("guidance: there is no class_label, classes or context to guide by")
        return self

    def label(self, condition: str) -> int:
        """Return the class label of a condition; 0 for one that is none of `classes`."""
        return self.classes.index(condition) + 1 if condition in self.classes else 0

    def draw(self, seed: int) -> str:
        """Return the condition of a seed's sample, by `shares`; empty for none."""
        place = int(hash_json(["condition", seed]), 16) / 2**64
        return (*self.classes, "")[bisect(tuple(accumulate(self.shares)), place)]
