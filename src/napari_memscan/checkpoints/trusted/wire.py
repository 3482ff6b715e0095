"""What parent and child say to each other: one line of JSON, then the bytes of the arrays it names.

Nothing here can carry an object: the child runs code of strangers, and whatever it sends must not
be able to run anything in the parent. So there is no pickle, in neither direction, and sizes are
checked before memory is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

MAX_HEADER = 4_000_000
"""Bytes of the JSON line; the longest real one lists 1000 betas."""

MAX_ARRAYS = 16
MAX_AXES = 6
MAX_BYTES = 1 << 33
"""Of one message's arrays: eight volumes of 512^3 fit twice."""

_TYPES = {"float32": "<f4", "int64": "<i8"}

Arrays = Mapping[str, NDArray[Any]]


class BadMessage(Exception):
    """What was received is no message."""


class ModelRefused(Exception):
    """In the child: what was loaded is not what memscan can use; the text says why."""


def send(stream: IO[bytes], message: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write a message.

    Parameters
    ----------
    stream : binary file
        Flushed afterwards.
    message : dict
        JSON knows all of it; ``arrays`` is a name of the wire.
    arrays : dict of str to array, optional
        float32 or int64.

    Raises
    ------
    BadMessage
        More than a message may hold.
    OSError
        Nobody listens.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
    listed = [
        {"name": name, "type": str(array.dtype), "shape": list(array.shape)}
        for name, array in arrays.items()
    ]
    try:
        text = json.dumps({**message, "arrays": listed}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMessage(f"holds what JSON does not know ({error})") from error
    if len(text) >= MAX_HEADER:
        raise BadMessage(f"is {len(text):,} bytes of text; at most {MAX_HEADER:,} are sent")
    _check_layout(listed, MAX_BYTES)
    stream.write(text.encode("ascii") + b"\n")
    for array in arrays.values():
        if array.size:  # A memoryview of nothing cannot be written.
            stream.write(array.astype(_TYPES[str(array.dtype)], copy=False).data)
    stream.flush()


def receive(
    stream: IO[bytes], most: int = MAX_BYTES
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a message.

    Parameters
    ----------
    stream : binary file
        Whatever comes from it is checked.
    most : int
        Bytes of arrays that are taken.

    Returns
    -------
    dict, dict of str to array
        The message, and its arrays.

    Raises
    ------
    BadMessage
        Not a message, or larger than allowed.
    EOFError
        The other side is gone.
    """
    line = stream.readline(MAX_HEADER)
    if not line:
        raise EOFError
    if not line.endswith(b"\n"):
        raise BadMessage(f"has no end within {len(line):,} bytes: {line[:40]!r} ...")
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"is not JSON: {line[:40]!r} ...") from error
    if not isinstance(message, dict):
        raise BadMessage(f"is a {type(message).__name__}, not an object")
    arrays = {}
    for name, kind, shape in _check_layout(message.pop("arrays", None), most):
        array = np.empty(shape, kind)
        if array.size:
            _read_into(stream, array)
        arrays[name] = array
    return message, arrays


def _check_layout(listed: Any, most: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Check what arrays are announced, before any memory is taken for them."""
    if not isinstance(listed, list) or len(listed) > MAX_ARRAYS:
        raise BadMessage("does not say which arrays follow, or too many")
    found: list[tuple[str, str, tuple[int, ...]]] = []
    total = 0
    for entry in listed:
        if not isinstance(entry, dict) or entry.keys() != {"name", "type", "shape"}:
            raise BadMessage("announces something that is no array")
        name, kind, shape = entry["name"], entry["type"], entry["shape"]
        if not isinstance(name, str) or not isinstance(kind, str) or kind not in _TYPES:
            raise BadMessage(f"announces an array of {str(kind)[:40]!r}; {list(_TYPES)} are known")
        if (
            not isinstance(shape, list)
            or len(shape) > MAX_AXES
            or not all(type(n) is int and 0 <= n < 2**31 for n in shape)
        ):
            raise BadMessage(f"announces an array of shape {str(shape)[:80]}")
        total += prod(shape) * np.dtype(_TYPES[kind]).itemsize
        if total > most:
            raise BadMessage(f"announces {total:,} bytes of arrays; at most {most:,} are expected")
        found.append((name, _TYPES[kind], tuple(shape)))
    if len({name for name, _, _ in found}) != len(found):
        raise BadMessage("names two arrays alike")
    return found


def _read_into(stream: IO[bytes], array: NDArray[Any]) -> None:
    view = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        n = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not n:
            raise EOFError
        done += n


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
