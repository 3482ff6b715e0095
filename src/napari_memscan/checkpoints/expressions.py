"""The few expressions of a configuration that are plain arithmetic, worked out without `eval`.

MONAI runs whatever follows a ``$`` in a configuration file. Here such a text is parsed, and only
numbers, lists, references to other keys and sums of them are worked out; the rest is refused.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput

REFERENCE_PATTERN = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
"""A reference as MONAI writes it: ``@key``, ``@key#inner::0``."""

META_KEYS = frozenset({"_requires_", "_disabled_", "_desc_", "_mode_"})
"""What MONAI notes beside a component's arguments."""

# Enough for any real configuration, and little enough that none can fill memory or time.
MAX_DEPTH = 50
MAX_STEPS = 100_000
_MAX_EXPRESSION = 1_000
_MAX_TEXT = 4_096
_MAX_NUMBER = 2**63

_PLACEHOLDER = "_memscan_reference_"
_ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
# Each function with the types it takes here.
_FUNCTIONS: dict[str, tuple[Any, tuple[type, ...]]] = {
    "int": (int, (int, float)),
    "float": (float, (int, float)),
    "tuple": (tuple, (tuple, list)),
    "list": (list, (tuple, list)),
    "len": (len, (tuple, list, dict, str)),
    "max": (max, (tuple, list, int, float)),
    "min": (min, (tuple, list, int, float)),
}


def parse_expression(text: str) -> tuple[ast.expr, dict[str, str]]:
    """Parse an expression, each reference in it replaced by a name.

    Parameters
    ----------
    text : str
        With or without the leading ``$``.

    Returns
    -------
    tree : ast.expr
        The expression; nothing of it has run.
    names : dict of str to str
        Which reference each of the made-up names stands for.

    Raises
    ------
    ValueError
        Too long, or not an expression.
    """
    names: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        name = f"{_PLACEHOLDER}{len(names)}"
        names[name] = match[1]
        return f" {name} "

    if len(text) > _MAX_EXPRESSION or _PLACEHOLDER in text:
        raise ValueError(f"longer than {_MAX_EXPRESSION} characters")
    try:
        source = REFERENCE_PATTERN.sub(named, text.removeprefix("$")).strip()
        return ast.parse(source, mode="eval").body, names
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("not an expression") from error


class ConfigResolver:
    """Values worked out from a parsed configuration, with a count of the steps taken.

    Nothing is remembered between two uses of a key: a file that multiplies itself through its
    references then runs into the limit of steps instead of filling the memory.

    Parameters
    ----------
    data : mapping
        The parsed configuration.
    path : Path
        Of the file, for messages.
    plain : bool
        Refuse values that are components (with a ``_target_``) inside other values.
    """

    def __init__(self, data: Mapping[str, Any], path: Path, *, plain: bool = False) -> None:
        self.data = data
        self.path = path
        self.plain = plain
        self.chain: list[str] = []
        self.steps = 0

    def refused(self, why: str) -> BadInput:
        """Make the error that names the file and the key at hand."""
        key = f"key '{self.chain[-1]}': " if self.chain else ""
        return BadInput(f"{self.path}: {key}{why}")

    def raw(self, name: str) -> Any:
        """Return what stands under a key, as it was written."""
        value: Any = self.data
        for part in re.split("#|::", name):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part[:9]) < len(value):
                value = value[int(part[:9])]
            else:
                raise self.refused(
                    f"there is no '{name[:80]}' in this configuration. Check the spelling; if "
                    "another file holds it, give both files."
                )
        return value

    def reference(self, name: str) -> Any:
        """Work out the value under a key."""
        name = name.replace("::", "#")
        if name in self.chain:
            raise self.refused(f"refers to itself: {' -> '.join([*self.chain, name])}.")
        if len(self.chain) >= MAX_DEPTH:
            raise self.refused(f"more than {MAX_DEPTH} references, each to the next.")
        return self.under(name, self.raw(name))

    def under(self, name: str, raw: Any) -> Any:
        """Work out a value as it was written under a key."""
        self.chain.append(name)
        try:
            return self.value(raw)
        except RecursionError as error:
            raise self.refused("nested too deeply.") from error
        finally:
            self.chain.pop()

    def value(self, raw: Any) -> Any:
        """Work out a value as it was written: lists and objects in depth, references, ``$``."""
        self._step()
        if isinstance(raw, str):
            return self._text(raw)
        if isinstance(raw, list):
            return [self.value(item) for item in raw]
        if isinstance(raw, dict):
            if self.plain and "_target_" in raw:
                raise self.refused("has a component as an argument; numbers and texts may be.")
            return {key: self.value(item) for key, item in raw.items() if key not in META_KEYS}
        return self._checked(raw)

    def expression(self, text: str) -> Any:
        """Work out one expression."""
        try:
            tree, names = parse_expression(text)
        except ValueError as error:
            raise self._no_code(text) from error
        return self.node(tree, names, text)

    def node(self, node: ast.AST, names: Mapping[str, str], text: str) -> Any:
        """Work out one part of an expression; `text` is the whole of it, for messages."""
        self._step()
        try:
            return self._checked(self._node(node, names, text))
        except BadInput:
            raise
        # What is not worked out raises NotImplementedError, a RuntimeError as RecursionError is.
        except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
            raise self._no_code(text) from error

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.refused(f"makes more than {MAX_STEPS:,} values. No real model needs that.")

    def _text(self, raw: str) -> Any:
        if raw.startswith("$"):
            return self.expression(raw)
        if not raw.startswith(("@", "%")):
            return raw
        match = REFERENCE_PATTERN.fullmatch("@" + raw[1:])
        if match is None:
            raise self.refused(
                f"'{raw[:80]}' is no reference to a key of this configuration, and no other kind "
                "can be followed. Write the value itself in its place."
            )
        return self.reference(match[1])

    def _checked(self, value: Any) -> Any:
        # "not <" holds for NaN too.
        if isinstance(value, int | float) and not abs(value) < _MAX_NUMBER:
            raise self.refused("a number that is not finite or beyond 2 to the power of 63.")
        if not isinstance(value, str | int | float | tuple | list | dict | None):
            raise self.refused(
                f"holds a {type(value).__name__}; numbers, texts, lists and objects are expected."
            )
        return value

    def _no_code(self, text: str) -> BadInput:
        return self.refused(
            f"'{text[:160]}' is more than numbers, lists and references. memscan does not run "
            "code from configuration files; write the value itself in its place."
        )

    def _node(self, node: ast.AST, names: Mapping[str, str], text: str) -> Any:
        def inner(part: ast.AST) -> Any:
            return self.node(part, names, text)

        match node:
            case ast.Constant(value=str(value)) if _PLACEHOLDER not in value:
                return value
            case ast.Constant(value=bool() | int() | float() | None):
                return node.value
            case ast.Name(id=name) if name in names:
                return self.reference(names[name])
            case ast.Tuple(elts=parts):
                return tuple(inner(part) for part in parts)
            case ast.List(elts=parts):
                return [inner(part) for part in parts]
            # The key of ** is None, which is no node.
            case ast.Dict(keys=keys, values=values) if all(keys):
                return {inner(k): inner(v) for k, v in zip(keys, values, strict=True) if k}
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=part):
                number = _require_number(inner(part))
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left=left, op=sign, right=right):
                return _apply_operator(type(sign), inner(left), inner(right))
            case ast.Subscript(value=part, slice=ast.Slice(lower=a, upper=b, step=c)):
                edges = [None if edge is None else inner(edge) for edge in (a, b, c)]
                return _require_sequence(inner(part))[slice(*edges)]
            case ast.Subscript(value=part, slice=index):
                return _require_sequence(inner(part))[inner(index)]
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _FUNCTIONS:
                return _call_function(name, [inner(part) for part in parts])
        raise NotImplementedError(type(node).__name__)


def _require_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return value


def _require_sequence(value: Any) -> Any:
    if not isinstance(value, tuple | list | str | dict):
        raise TypeError("not a sequence")
    return value


def _apply_operator(sign: type[ast.operator], left: Any, right: Any) -> Any:
    both = {type(left), type(right)}
    if sign is ast.Add and both in ({str}, {list}, {tuple}):
        if both == {str} and len(left) + len(right) > _MAX_TEXT:
            raise ValueError("text too long")
        return left + right
    # Numbers only: a list or a text times a number is how little text fills a memory, and
    # text % value is formatting.
    return _ARITHMETIC[sign](_require_number(left), _require_number(right))


def _call_function(name: str, values: list[Any]) -> Any:
    function, kinds = _FUNCTIONS[name]
    if not all(isinstance(value, kinds) for value in values):
        raise TypeError("arguments of other types")
    return function(*values)
