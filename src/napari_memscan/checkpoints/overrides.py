"""What a user states about a model because its files do not say it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_memscan.checkpoints.recipe import Axes, FiniteNumber, Regions, Shape, VoxelSize
from napari_memscan.checkpoints.recipe_fields import SliceAxes, SlicePooling
from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.files import make_absolute
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Window


class ModelOverrides(BaseModel):
    """Facts about a model that its files do not hold; every one may be left out.

    Attributes
    ----------
    family : str
        Which adapter to use, where a file could be of several.
    autoencoder, denoiser, config : str
        Paths of further files: the other network's weights, the configuration.
    latent_shape, decode_shape, scale_factor, axes, spacing, decoded_range, sampler, steps
        See `LDMRecipe`.
    shape : (int, int, int)
        Voxels of a volume, X, Y, Z.
    downsample : (int, int, int)
        By how much the autoencoder shrinks X, Y, Z.
    intensity : dict
        Rule of the training volumes' intensities: ``{"rule": "window", "low": ..., "high": ...}``,
        ``percentile`` or ``minmax``.
    prediction_type : str
        ``epsilon``, ``v_prediction`` or ``sample``.
    context, class_label, guidance, regions
        See `Conditioning`.
    network : dict
        Arguments of a backbone's network that its weights do not say, as ``{"num_heads": 12}``.
    slice_axes, pooling
        See `SlicesRecipe`.
    scale_factor_from : str
        Where `scale_factor` comes from; the program sets it when it estimates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str | None = None
    autoencoder: str | None = None
    denoiser: str | None = None
    config: str | None = None
    latent_shape: tuple[int, int, int, int] | None = None
    decode_shape: Shape | None = None
    scale_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    scale_factor_from: str | None = None
    shape: Shape | None = None
    downsample: Shape | None = None
    spacing: VoxelSize | None = None
    axes: Axes | None = None
    intensity: Annotated[Window | Percentile | MinMax, Field(discriminator="rule")] | None = None
    decoded_range: tuple[FiniteNumber, FiniteNumber] | None = None
    prediction_type: Literal["epsilon", "v_prediction", "sample"] | None = None
    sampler: Literal["ddim", "ddpm", "rflow"] | None = None
    steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    context: tuple[FiniteNumber, ...] | None = None
    class_label: Annotated[int, Field(ge=0)] | None = None
    guidance: FiniteNumber | None = None
    network: dict[str, Any] | None = None
    regions: Regions | None = None
    slice_axes: SliceAxes | None = None
    pooling: SlicePooling | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | ModelOverrides | None) -> ModelOverrides:
        """Return it from a mapping, such as ``[generator.set]`` of a study.

        Raises
        ------
        BadInput
            Not a known name, or a value that does not fit.
        """
        if isinstance(values, ModelOverrides):
            return values
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            problems = describe_validation_error(error, "--set")
            raise BadInput(
                f"what is declared of the model does not fit: {problems}. Known names: "
                f"{', '.join(sorted(cls.model_fields))}."
            ) from error

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> ModelOverrides:
        """Return it from texts such as ``latent_shape=8,16,16,16``.

        Raises
        ------
        BadInput
            Not NAME=VALUE, or as `from_mapping`.
        """
        values: dict[str, Any] = {}
        for text in pairs:
            name, equals, value = text.partition("=")
            if not equals:
                raise BadInput(f"'{text}': NAME=VALUE is expected, such as scale_factor=0.9.")
            values[name.strip()] = _parse_value(value.strip())
        if isinstance(values.get("intensity"), str):
            values["intensity"] = _parse_intensity(values["intensity"])
        return cls.from_mapping(values)

    def absolute(self) -> ModelOverrides:
        """Return it with absolute paths: a study may lie elsewhere than where it is made.

        A path that does not lead anywhere from here is one inside the model's folder, and stays.
        """
        paths = {
            name: str(make_absolute(Path(value).expanduser()))
            for name in ("autoencoder", "denoiser", "config")
            if (value := getattr(self, name)) is not None and Path(value).expanduser().exists()
        }
        return self.model_copy(update=paths)

    def to_dict(self) -> dict[str, Any]:
        """Return only what was stated, as JSON knows it."""
        return self.model_dump(mode="json", exclude_none=True)


def _parse_value(text: str) -> Any:
    """Read numbers, lists of numbers as 8,16,16, and JSON; anything else is text."""
    for candidate in (text, f"[{text}]" if "," in text else text):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return text


def _parse_intensity(text: str) -> dict[str, Any]:
    """Read window:LOW:HIGH, percentile:LOW:HIGH or minmax, as ``memscan new`` does."""
    rule, *numbers = text.split(":")
    return {"rule": rule, **dict(zip(("low", "high"), numbers, strict=False))}
