"""The project's own format: a folder with recipe.json and safetensors files.

Plain PyTorch state dicts are accepted in place of safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from napari_memscan.checkpoints.bundle_config import find_allowed_root
from napari_memscan.checkpoints.recipe import FORMAT, AnyRecipe, Recipe, StoredRecipe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.checkpoints.weights import open_weights
from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.files import make_absolute, read_small_file, write_atomically, write_json

if TYPE_CHECKING:
    from torch import Tensor

_ADAPTER: TypeAdapter[StoredRecipe] = TypeAdapter(AnyRecipe)


def save_checkpoint(
    folder: str | Path,
    recipe: Recipe,
    weights: Mapping[str, Mapping[str, Tensor]],
    *,
    half: bool = False,
) -> None:
    """Write a checkpoint; `recipe.json` comes last, so a half-written folder is no checkpoint.

    Parameters
    ----------
    folder : path
        Made if missing.
    recipe : Recipe
        Its `files` name the weight files.
    weights : dict of str to state dict
        One state dict for each entry of ``recipe.files``.
    half : bool
        Store float32 tensors as float16: half the size; they are float32 again when loaded.
        A tensor beyond the range of float16 stays float32.

    Raises
    ------
    JobFailed
        The disk is full, or the folder cannot be written.
    """
    from safetensors.torch import save

    folder = Path(folder)
    for part, name in recipe.files.items():
        tensors = {
            key: (_to_half(value) if half else value).detach().cpu().contiguous().clone()
            for key, value in weights[part].items()
        }
        with write_atomically(folder / name) as temporary:
            # Not save_file: on a full disk it raises an error of its own that nobody explains.
            temporary.write_bytes(save(tensors))
    write_json(folder / "recipe.json", recipe.model_dump(mode="json"))


def _to_half(value: Tensor) -> Tensor:
    import torch

    if value.dtype != torch.float32 or (value.abs() > torch.finfo(torch.float16).max).any():
        return value
    return value.half()


def read_recipe(folder: str | Path) -> StoredRecipe:
    """Read `recipe.json` of a checkpoint folder.

    Parameters
    ----------
    folder : path
        The checkpoint's folder, or its `recipe.json`.

    Raises
    ------
    BadInput
        No such folder or recipe, not JSON, a field that does not fit, or a newer format.
    """
    path = _find_recipe(folder)
    try:
        value = json.loads(read_small_file(path))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: not a readable recipe ({error}). It must be the JSON file that lies beside "
            "the weights and says how to use them."
        ) from error
    if (
        isinstance(value, dict)
        and isinstance(value.get("format"), int)
        and value["format"] > FORMAT
    ):
        raise BadInput(
            f"{path}: made by a newer memscan (format {value['format']}, this one reads up to "
            f"{FORMAT}). Update napari-memscan."
        )
    try:
        recipe = _ADAPTER.validate_python(value)
    except ValidationError as error:
        problems = describe_validation_error(error, "recipe")
        raise BadInput(f"{path}: the recipe does not fit: {problems}.") from error
    return recipe


def _find_recipe(folder: str | Path) -> Path:
    folder = Path(folder)
    path = folder if folder.name == "recipe.json" else folder / "recipe.json"
    if not path.exists():
        what = "no such folder" if not path.parent.is_dir() else "no recipe.json in this folder"
        if folder.is_file():
            what = "this is a file"
        raise BadInput(
            f"{folder}: {what}. Choose the folder of a checkpoint: it holds recipe.json and the "
            "weight files that recipe.json names."
        )
    return path


def find_weight_file(folder: str | Path, recipe: Recipe, part: str) -> Path:
    """Return the weight file of one part; BadInput when it is missing or outside the folder."""
    folder = _find_recipe(folder).parent
    name = recipe.files.get(part)
    if name is None:
        raise BadInput(f"{folder / 'recipe.json'}: 'files' names no weights for '{part}'.")
    try:
        path = make_absolute(folder / name)
        inside = path.resolve().is_relative_to(find_allowed_root(folder))
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"{folder / 'recipe.json'}: the weight file {name[:80]!r} is no usable path ({error})."
        ) from error
    if not inside:
        raise BadInput(
            f"{folder / 'recipe.json'}: the weight file '{name}' lies outside the checkpoint's "
            "folder. Weights must lie inside it."
        )
    if not there:
        raise BadInput(f"{path}: missing, though recipe.json names it as the weights of '{part}'.")
    return path


def read_state_dict(path: Path) -> StateDict:
    """Read a bare state dict: names to tensors and nothing else.

    Raises
    ------
    BadInput
        The file is truncated, or holds anything but tensors.
    """
    import torch

    content = open_weights(path).content
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in content.items()
    ):
        raise BadInput(
            f"{path}: holds {type(content).__name__} with other things than tensors. "
            "A bare state dict is expected: names to tensors."
        )
    return StateDict(dict(content))
