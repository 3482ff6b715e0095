"""The state of a training on disk, from which it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_atomically

STATE = "training.pt"
"""File in the output folder from which a stopped training goes on."""


def save_state(out: Path, state: dict[str, Any], parts: dict[str, Any]) -> None:
    """Write numbers and state dicts, whole or not at all.

    Raises
    ------
    JobFailed
        The disk is full, or the folder cannot be written; what was saved before is still there.
    """
    import torch

    value = dict(state) | {name: part.state_dict() for name, part in parts.items()}
    # Through a file of ours: given a path, torch.save says of a full disk "iostream error".
    with write_atomically(out / STATE) as temporary, temporary.open("wb") as file:
        torch.save(value, file)


def restore_state(out: Path, state: dict[str, Any], parts: dict[str, Any]) -> None:
    """Read into `state` and `parts` what `save_state` wrote, where there is something.

    Numbers that were not known when it was written stay as they are. A state of another
    fingerprint fits where `relaxed` is the same: settings that mend a training were changed.

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
    if not isinstance(value, dict) or not _is_same_training(value, state):
        raise BadInput(
            f"{out}: holds a training with other data or settings. "
            f"Choose another folder, or delete {path.name} there to start again."
        )
    kept = {key: state[key] for key in ("fingerprint", "relaxed")}
    try:
        for name in parts:
            if name != "scaler" or name in value:  # It may begin anew in another precision.
                parts[name].load_state_dict(value[name])
    except (KeyError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"{path}: does not fit these networks ({str(error)[:200]}). It was written by another "
            "memscan: go on with that one, or delete the file to start again."
        ) from error
    for key in state:
        state[key] = value.get(key, state[key])
    state.update(kept)


def _is_same_training(value: dict[str, Any], state: dict[str, Any]) -> bool:
    if value.get("fingerprint") == state["fingerprint"]:
        return True
    unfinished = not value.get("ended") and value.get("step", 0) < state["total"]
    return unfinished and value.get("relaxed") == state["relaxed"]
