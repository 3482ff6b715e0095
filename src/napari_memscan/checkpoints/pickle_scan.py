"""A pickle walked through without making anything, to see that it asks for what weights need.

PyTorch's restricted reader runs no code of a file, but it takes the file's word for sizes, and
some files of a few hundred bytes keep it busy for ever. Here every instruction is followed with
stand-ins: their number, nesting and claims are known before the real reader starts.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput

MAX_PICKLE_BYTES = 16_000_000
"""Bytes of instructions that are looked at; 10,000 tensors need about 1.5 MB."""

MAX_TUPLE_PARTS, MAX_TUPLE_DEPTH = 100_000, 200
"""Of one tuple with all tuples in it: PyTorch hashes tuples, again for each place they stand in."""

_LITERALS = {
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINSTRING",
    "EMPTY_LIST",
    "EMPTY_DICT",
    "EMPTY_SET",
}
_SIZES = {
    "Float": 4,
    "Double": 8,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
    "Bool": 1,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
    "Untyped": 1,
}


class _StandIn:
    """Stands for what an instruction makes."""

    __slots__ = ("depth", "parts", "value")

    def __init__(self, value: Any = None, parts: int = 1, depth: int = 0) -> None:
        self.value, self.parts, self.depth = value, parts, depth


class _PickleScanner:
    """Follows the instructions of one pickle."""

    def __init__(self, path: Path, records: Mapping[str, int] | None) -> None:
        self.path, self.records = path, records
        self.stack: list[_StandIn] = []
        self.marks: list[list[_StandIn]] = []
        self.memo: dict[int, _StandIn] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do what one instruction does, with stand-ins."""
        if name in _LITERALS:
            self.stack.append(_StandIn(argument))
        elif name == "GLOBAL":
            self.stack.append(_StandIn(str(argument).replace(" ", ".")))
        elif name == "MARK":
            self.marks.append(self.stack)
            self.stack = []
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            self._tuple(name)
        elif name in ("APPENDS", "SETITEMS"):
            self._marked()
        elif name in ("APPEND", "BUILD", "SETITEM"):
            for _ in range(2 if name == "SETITEM" else 1):
                self.stack.pop()
        elif name in ("REDUCE", "NEWOBJ"):
            made = self.stack.pop()
            self.stack[-1] = _StandIn(None, made.parts, made.depth)
        elif name == "BINPERSID":
            self._storage(self.stack.pop())
            self.stack.append(_StandIn())
        elif name not in ("PROTO", "STOP"):
            raise BadInput(
                f"{self.path}: holds the instruction {name}, which no weights need; refused. Save "
                "model.state_dict() instead."
            )

    def _marked(self) -> list[_StandIn]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _tuple(self, name: str) -> None:
        if name == "TUPLE":
            items = self._marked()
        else:
            n = 0 if name == "EMPTY_TUPLE" else int(name[-1])
            if len(self.stack) < n:
                raise IndexError("a tuple of what is not there")
            items = self.stack[len(self.stack) - n :]
            del self.stack[len(self.stack) - n :]
        parts = 1 + sum(item.parts for item in items)
        depth = 1 + max((item.depth for item in items), default=0)
        if parts > MAX_TUPLE_PARTS or depth > MAX_TUPLE_DEPTH:
            raise BadInput(
                f"{self.path}: nests tuples {depth} deep with {parts:,} parts; no weights do, and "
                "it would keep the reader busy for ever. Refused."
            )
        self.stack.append(_StandIn(tuple(item.value for item in items[:8]), parts, depth))

    def _storage(self, named: _StandIn) -> None:
        """Compare what a tensor's storage claims with the bytes that the archive has for it."""
        if self.records is None:
            return
        value = named.value if isinstance(named.value, tuple) else ()
        if len(value) != 5 or not isinstance(value[4], int):
            raise BadInput(f"{self.path}: names the data of a tensor in a strange way; refused.")
        _, kind, key, _, numel = value
        kind = str(kind).rpartition(".")[2].removesuffix("Storage")
        have = self.records.get(str(key))
        if kind in _SIZES and have != numel * _SIZES[kind]:
            raise BadInput(
                f"{self.path}: claims {numel:,} numbers for a tensor whose data is "
                f"{'missing' if have is None else f'{have:,} bytes'}; damaged or forged."
            )


def check_pickle(path: Path, data: bytes, records: Mapping[str, int] | None = None) -> None:
    """Walk through a pickle as ``torch.save`` writes it, or through several in a row.

    Parameters
    ----------
    path : Path
        For messages.
    data : bytes
        The instructions. Without `records`, the five pickles with which PyTorch's older format
        begins, and whatever follows.
    records : dict of str to int, optional
        Bytes the archive holds for each storage.

    Raises
    ------
    BadInput
        Damaged, or asking for more than weights need.
    """
    stream = io.BytesIO(data)
    try:
        for _ in range(5 if records is None else 1):
            scanner = _PickleScanner(path, records)
            for instruction, argument, _position in pickletools.genops(stream):
                scanner.step(instruction.name, argument)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        reason = " ".join(str(error).split())[:100]
        raise BadInput(
            f"{path}: its list of tensors is damaged ({reason}), or it is no weight file. Copy or "
            "download it again."
        ) from error
