"""Fields that recipes share, and what every part of a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json

FORMAT = 2
"""Version of `recipe.json`; a larger number in a file means that a newer memscan wrote it."""

Shape = tuple[
    Annotated[int, Field(ge=1, le=4096)],
    Annotated[int, Field(ge=1, le=4096)],
    Annotated[int, Field(ge=1, le=4096)],
]

CropStart = Annotated[int, Field(ge=0, le=4096)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
VoxelSize = tuple[PositiveNumber, PositiveNumber, PositiveNumber]
SlicePooling = Literal["mean", "max", "mean+std", "gem"]
SliceAxes = Literal["X", "Y", "Z", "XY", "XZ", "YZ", "XYZ"]
FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
Region = tuple[FiniteNumber, FiniteNumber, FiniteNumber, FiniteNumber]
Regions = tuple[Region, Region]
"""Top and bottom body region of MAISI, one-hot: head and neck, chest, abdomen, pelvis and legs."""


def _check_axes(value: str) -> str:
    if len(value) != 3 or {frozenset("RL"), frozenset("AP"), frozenset("SI")} != {
        frozenset(pair) for letter in value for pair in ("RL", "AP", "SI") if letter in pair
    }:
        raise ValueError(
            f"axes '{value}': three letters say where the axes of the network point to, one of "
            "R/L, one of A/P, one of S/I, such as RAS, or SRA for depth first"
        )
    return value


Axes = Annotated[str, AfterValidator(_check_axes)]
"""Where the three axes of an array point to, as nibabel's axis codes: RAS, LPS, SRA ..."""


class RecipePart(BaseModel):
    """What a recipe is made of: strict, frozen, with a hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _later: ClassVar[frozenset[str]] = frozenset()
    """Fields that format 1 did not have: written only where they differ from their default, so
    that recipes which do not need them keep their hash."""

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        unused = {
            name
            for name in self._later
            if getattr(self, name) == type(self).model_fields[name].default
        }
        return {key: value for key, value in handler(self).items() if key not in unused}

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever the recipe does."""
        return hash_json(self.model_dump(mode="json"))


CheckpointKind = Literal["ldm", "autoencoder", "embedder"]
"""What a checkpoint is wanted for."""

KIND_TITLES: dict[CheckpointKind, str] = {
    "ldm": "a 3D latent diffusion model",
    "autoencoder": "an autoencoder",
    "embedder": "an embedder",
}


class ModelRecipe(RecipePart):
    """A whole recipe: what a kind of model has to say of itself, for all who ask.

    Attributes
    ----------
    use : {"ldm", "autoencoder", "embedder"}
        What such a checkpoint is used as.
    """

    use: ClassVar[CheckpointKind]

    def summarise(self) -> str:
        """Say in one line what the model is."""
        raise NotImplementedError

    def require_kind(self, kind: CheckpointKind | None, where: object) -> None:
        """Raise BadInput where something else is wanted; an LDM holds an autoencoder, too."""
        if kind not in (None, self.use) and (self.use, kind) != ("ldm", "autoencoder"):
            what = KIND_TITLES[self.use] + (" alone" if self.use == "autoencoder" else "")
            raise BadInput(f"{where}: this is {what}, but {KIND_TITLES[kind]} is needed here.")


def format_shape(shape: tuple[int, ...]) -> str:
    """Return ``48 x 48 x 48``."""
    return " x ".join(map(str, shape))
