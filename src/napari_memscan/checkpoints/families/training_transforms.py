"""What the transforms of a training configuration say of the volumes: spacing, intensity, axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from napari_memscan.checkpoints.bundle_config import BundleConfig
from napari_memscan.checkpoints.families.monai_config import format_origin, iter_transform_arguments
from napari_memscan.checkpoints.recipe import Axes
from napari_memscan.volumes.preprocessing import Percentile, Window


class SourcedValue(NamedTuple):
    """A value and where it stands; None where nothing is told, or several that differ."""

    value: Any = None
    origin: str = ""


NO_VALUE = SourcedValue()


class TrainingTransforms(NamedTuple):
    """What training volumes went through, as far as configurations tell it.

    Attributes
    ----------
    spacing, axes, intensity, decoded_range : SourcedValue
        As the fields of `LDMRecipe` and `Preprocessing`.
    """

    spacing: SourcedValue = NO_VALUE
    axes: SourcedValue = NO_VALUE
    intensity: SourcedValue = NO_VALUE
    decoded_range: SourcedValue = NO_VALUE


NO_TRANSFORMS = TrainingTransforms()


def read_training_transforms(configs: Iterable[BundleConfig]) -> TrainingTransforms:
    """Read it from the transforms that configurations list as literals."""
    spacing: list[SourcedValue] = []
    axes: list[SourcedValue] = []
    scaled: list[SourcedValue] = []
    for config in configs:
        origin = format_origin(config)
        for values in iter_transform_arguments(config, "Spacing", "pixdim"):
            spacing.append(SourcedValue(_parse_spacing(values.get("pixdim")), origin))
        for values in iter_transform_arguments(config, "Orientation", "axcodes"):
            axes.append(SourcedValue(_parse_axes(values.get("axcodes")), origin))
        names = ("lower", "upper", "b_min", "b_max")
        for values in iter_transform_arguments(config, "ScaleIntensityRangePercentiles", *names):
            scaled.append(SourcedValue(_parse_intensity(Percentile, values, *names), origin))
        names = ("a_min", "a_max", "b_min", "b_max")
        for values in iter_transform_arguments(config, "ScaleIntensityRange", *names):
            scaled.append(SourcedValue(_parse_intensity(Window, values, *names), origin))
    rule = _require_agreement(scaled)
    intensity, decoded = rule.value or (None, None)
    return TrainingTransforms(
        _require_agreement(spacing),
        _require_agreement(axes),
        SourcedValue(intensity, rule.origin),
        SourcedValue(decoded, rule.origin),
    )


def _require_agreement(told: list[SourcedValue]) -> SourcedValue:
    """Return what all of them say; nothing where one is unclear or two differ."""
    same = told and all(one.value == told[0].value for one in told)
    return told[0] if same else SourcedValue()


def _are_numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _parse_spacing(value: Any) -> tuple[float, ...] | None:
    if _are_numbers(value):
        value = [value] * 3
    if not isinstance(value, list | tuple) or len(value) != 3 or not _are_numbers(*value):
        return None
    return tuple(float(v) for v in value) if min(value) > 0 else None


def _parse_axes(value: Any) -> str | None:
    try:
        return TypeAdapter(Axes).validate_python(value, strict=True)
    except ValidationError:
        return None


def _parse_intensity(
    rule: Any, values: dict[str, Any], low: str, high: str, start: str, end: str
) -> Any:
    four: list[Any] = [values.get(name) for name in (low, high, start, end)]
    if not _are_numbers(*four) or not (four[0] < four[1] and four[2] < four[3]):
        return None
    try:
        return rule(low=four[0], high=four[1]), (float(four[2]), float(four[3]))
    except ValidationError:
        return None
