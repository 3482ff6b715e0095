"""What the transforms of a training configuration say of the volumes: spacing, intensity, axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from napari_memscan.checkpoints.bundle import Config
from napari_memscan.checkpoints.families.configured import values_of, where
from napari_memscan.checkpoints.recipe import Axes
from napari_memscan.volumes.preprocessing import Percentile, Window


class Told(NamedTuple):
    """A value and where it stands; None where nothing is told, or several that differ."""

    value: Any = None
    origin: str = ""


NOTHING = Told()


class Training(NamedTuple):
    """What training volumes went through, as far as configurations tell it.

    Attributes
    ----------
    spacing, axes, intensity, decoded_range : Told
        As the fields of `LDMRecipe` and `Preprocessing`.
    """

    spacing: Told = NOTHING
    axes: Told = NOTHING
    intensity: Told = NOTHING
    decoded_range: Told = NOTHING


UNTOLD = Training()


def training_of(configs: Iterable[Config]) -> Training:
    """Read it from the transforms that configurations list as literals."""
    spacing: list[Told] = []
    axes: list[Told] = []
    scaled: list[Told] = []
    for config in configs:
        origin = where(config)
        for values in values_of(config, "Spacing", "pixdim"):
            spacing.append(Told(_spacing(values.get("pixdim")), origin))
        for values in values_of(config, "Orientation", "axcodes"):
            axes.append(Told(_axes(values.get("axcodes")), origin))
        names = ("lower", "upper", "b_min", "b_max")
        for values in values_of(config, "ScaleIntensityRangePercentiles", *names):
            scaled.append(Told(_scaled(Percentile, values, *names), origin))
        names = ("a_min", "a_max", "b_min", "b_max")
        for values in values_of(config, "ScaleIntensityRange", *names):
            scaled.append(Told(_scaled(Window, values, *names), origin))
    rule = _agreed(scaled)
    intensity, decoded = rule.value or (None, None)
    return Training(
        _agreed(spacing), _agreed(axes), Told(intensity, rule.origin), Told(decoded, rule.origin)
    )


def _agreed(told: list[Told]) -> Told:
    """Return what all of them say; nothing where one is unclear or two differ."""
    same = told and all(one.value == told[0].value for one in told)
    return told[0] if same else Told()


def _numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _spacing(value: Any) -> tuple[float, ...] | None:
    if _numbers(value):
        value = [value] * 3
    if not isinstance(value, list | tuple) or len(value) != 3 or not _numbers(*value):
        return None
    return tuple(float(v) for v in value) if min(value) > 0 else None


def _axes(value: Any) -> str | None:
    try:
        return TypeAdapter(Axes).validate_python(value, strict=True)
    except ValidationError:
        return None


def _scaled(rule: Any, values: dict[str, Any], low: str, high: str, start: str, end: str) -> Any:
    four: list[Any] = [values.get(name) for name in (low, high, start, end)]
    if not _numbers(*four) or not (four[0] < four[1] and four[2] < four[3]):
        return None
    try:
        return rule(low=four[0], high=four[1]), (float(four[2]), float(four[3]))
    except ValidationError:
        return None
