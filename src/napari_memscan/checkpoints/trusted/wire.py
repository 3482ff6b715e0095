"""What parent and child say to each other: JSON and then safetensors, each behind its length.

No pickle goes either way: an answer is read as numbers, and never as objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

MAX_TEXT = 4_000_000
"""Bytes of JSON; the longest real one lists 1000 betas. Also the room for names and shapes."""

MAX_BYTES = 1 << 33
"""Of one message's arrays: eight volumes of 512^3 fit twice."""

LENGTH_BYTES = 8

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
        JSON knows all of it.
    arrays : dict of str to array, optional
        float32 or int64.

    Raises
    ------
    BadMessage
        More than a message may hold, or what JSON does not know.
    OSError
        Nobody listens.
    """
    try:
        text = json.dumps(message, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMessage(f"holds what JSON does not know ({error})") from error
    if len(text) > MAX_TEXT:
        raise BadMessage(f"is {len(text):,} bytes of text; at most {MAX_TEXT:,} are sent")
    tensors = save({name: np.asarray(array, order="C") for name, array in (arrays or {}).items()})
    for part in (text, tensors):
        stream.write(len(part).to_bytes(LENGTH_BYTES, "little"))
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], most: int = MAX_BYTES) -> tuple[dict[str, Any], Arrays]:
    """Read a message.

    Parameters
    ----------
    stream : binary file
        Of the other side.
    most : int
        Bytes of arrays that are taken.

    Returns
    -------
    dict, dict of str to array
        The message, and its arrays.

    Raises
    ------
    BadMessage
        Not a message, or larger than allowed; no memory was taken for it.
    EOFError
        The other side is gone.
    """
    text, tensors = _read_part(stream, MAX_TEXT), _read_part(stream, most + MAX_TEXT)
    try:
        message, arrays = json.loads(text), load(tensors)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise BadMessage(f"cannot be read ({str(error)[:100]})") from error
    if not isinstance(message, dict):
        raise BadMessage(f"is a {type(message).__name__}, not an object")
    return message, arrays


def _read_part(stream: IO[bytes], most: int) -> bytes:
    length = int.from_bytes(_read_bytes(stream, LENGTH_BYTES), "little")
    if length > most:
        raise BadMessage(f"is {length:,} bytes long; at most {most:,} are expected")
    return _read_bytes(stream, length)


def _read_bytes(stream: IO[bytes], n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data
