"""Settings that PyTorch Lightning keeps in a checkpoint, as plain data."""

from __future__ import annotations

from typing import Any

from napari_memscan.checkpoints.weights import OpaqueObject

_MAX_DEPTH = 12
_MAX_VALUES = 100_000
"""Values that are looked at: a small file can nest a list in itself many times over."""


def read_hyperparameters(content: Any) -> dict[str, Any]:
    """Return the hyper-parameters of a Lightning checkpoint; empty where there are none.

    Parameters
    ----------
    content : object
        Of a `WeightFile`. Configurations of OmegaConf are there as `OpaqueObject`, which keep what
        the file says of them: ``_content`` of a dictionary or list, ``_val`` of a value.
        References such as ``${model.size}`` stay text.
    """
    if not isinstance(content, dict):
        return {}
    plain = _to_plain(content.get("hyper_parameters"), 0, [_MAX_VALUES])
    return plain if isinstance(plain, dict) else {}


def get_setting(values: Any, dotted: str) -> Any:
    """Return the value at names such as ``cfg.model.downsample``; None where it is not there."""
    for name in dotted.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _to_plain(value: Any, depth: int, left: list[int]) -> Any:
    if isinstance(value, OpaqueObject):
        kept = vars(value)
        value = kept["_content"] if "_content" in kept else kept.get("_val")
    # A file may nest itself; what a training states is never deep.
    left[0] -= 1
    if depth > _MAX_DEPTH or left[0] < 0 or isinstance(value, OpaqueObject):
        return None
    if isinstance(value, dict):
        return {str(key): _to_plain(inner, depth + 1, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(inner, depth + 1, left) for inner in value]
    return value if isinstance(value, str | int | float | bool) else None
