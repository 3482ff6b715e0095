"""The state of a training on disk, from which it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput
from napari_memscan.files import replacing

STATE = "training.pt"
"""File in the output folder from which a stopped training goes on."""


def save_state(out: Path, state: dict[str, Any], parts: dict[str, Any]) -> None:
    """Write numbers and state dicts, whole or not at all."""
    import torch

    value = dict(state) | {name: part.state_dict() for name, part in parts.items()}
    with replacing(out / STATE) as temporary:
        torch.save(value, temporary)


def restore_state(out: Path, state: dict[str, Any], parts: dict[str, Any]) -> None:
    """Read into `state` and `parts` what `save_state` wrote, where there is something.

    Raises
    ------
    BadInput
        A finished checkpoint, another training, or a file that cannot be read.
    """
    import pickle

    import torch

    path = out / STATE
    if not path.exists():
        if (out / "recipe.json").exists():
            raise BadInput(
                f"{out}: holds a finished checkpoint. Choose another folder for this training."
            )
        return
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise BadInput(
            f"{path}: the saved state cannot be read. Delete it to start this training again."
        ) from error
    if value["fingerprint"] != state["fingerprint"]:
        raise BadInput(
            f"{out}: holds a training with other data or settings. "
            f"Choose another folder, or delete {path.name} there to start again."
        )
    for name in parts:
        parts[name].load_state_dict(value[name])
    for key in state:
        state[key] = value[key]
