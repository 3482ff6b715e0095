"""State dicts: found in what a file holds, freed of wrappers, renamed, and every step accounted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
"""What data parallel training, torch.compile and wrapping modules put before every name."""


@dataclass
class StateDict:
    """One state dict on its way to a network of ours.

    Attributes
    ----------
    tensors : dict
        Name to tensor.
    where : str
        Where in the file it lies, such as ``ema.shadow``; empty for a bare state dict.
    prefix : str
        What was taken off every name.
    renamed : int
        How many names were changed.
    unused : list of str
        Names that were left out on purpose.
    """

    tensors: dict[str, Tensor]
    where: str = ""
    prefix: str = ""
    renamed: int = 0
    unused: list[str] = field(default_factory=list)

    def has(self, *names: str) -> bool:
        """Return whether all these names are there."""
        return all(name in self.tensors for name in names)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape; () for one that is not there."""
        tensor = self.tensors.get(name)
        return () if tensor is None else tuple(tensor.shape)

    def below(self, prefix: str) -> StateDict:
        """Return the part whose names start with `prefix`, without it."""
        tensors = {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}
        return StateDict(tensors, self.where, self.prefix + prefix)

    def rename(self, rules: Sequence[tuple[str, str]]) -> StateDict:
        """Return it with names changed by regular expressions, each tried in turn.

        Raises
        ------
        BadInput
            Two names become one.
        """
        compiled = [(re.compile(pattern), new) for pattern, new in rules]
        tensors: dict[str, Tensor] = {}
        renamed = self.renamed
        for name, tensor in self.tensors.items():
            new = name
            for pattern, replacement in compiled:
                new = pattern.sub(replacement, new)
            if new in tensors:
                raise BadInput(f"tensors '{name}' and another both become '{new}'.")
            tensors[new] = tensor
            renamed += new != name
        return StateDict(tensors, self.where, self.prefix, renamed, list(self.unused))

    def without(self, names: Iterable[str]) -> StateDict:
        """Return it without these names, which are noted as unused."""
        left_out = sorted(set(names) & self.tensors.keys())
        tensors = {k: v for k, v in self.tensors.items() if k not in set(left_out)}
        return StateDict(tensors, self.where, self.prefix, self.renamed, [*self.unused, *left_out])


def find_states(content: Any) -> list[StateDict]:
    """Return all state dicts in what a file holds, outermost first, common prefixes taken off.

    A state dict is a dictionary from text to tensors; other entries beside the tensors, such as
    an epoch, are not part of it.
    """
    import torch

    found: list[StateDict] = []

    def look(value: Any, where: str, depth: int) -> None:
        if not isinstance(value, Mapping) or depth > 4:
            return
        tensors = {
            key: tensor
            for key, tensor in value.items()
            if isinstance(key, str) and isinstance(tensor, torch.Tensor)
        }
        # A lone number beside settings, as MAISI's scale_factor, is no network.
        if any(tensor.ndim > 0 for tensor in tensors.values()):
            found.append(strip_prefixes(StateDict(tensors, where)))
        for key, inner in value.items():
            look(inner, f"{where}.{key}" if where else str(key), depth + 1)

    look(content, "", 0)
    return found


def strip_prefixes(state: StateDict, prefixes: Sequence[str] = PREFIXES) -> StateDict:
    """Take off what stands before every name."""
    while True:
        names = state.tensors
        common = next((p for p in prefixes if names and all(n.startswith(p) for n in names)), None)
        if common is None:
            return state
        state = StateDict(
            {n[len(common) :]: t for n, t in names.items()}, state.where, state.prefix + common
        )


def sort_states(states: Sequence[StateDict], *order: str) -> list[StateDict]:
    """Return states with those first that lie at `order` in the file, such as ``ema.shadow``."""
    ranks = {where: rank for rank, where in enumerate(order)}
    return sorted(states, key=lambda state: ranks.get(state.where, len(ranks)))
