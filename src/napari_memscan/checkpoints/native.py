"""The project's own format: a folder with recipe.json and safetensors files.

Plain PyTorch state dicts (``.pt``, ``.pth``, ``.ckpt`` of tensors only) are accepted in place of
safetensors; they are read with ``weights_only`` and nothing in them is ever run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from napari_memscan.checkpoints.recipe import (
    FORMAT,
    AnyRecipe,
    AutoencoderRecipe,
    EmbedderRecipe,
    LDMRecipe,
)
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_of, replacing, sha256_of, write_json

if TYPE_CHECKING:
    from torch import Tensor

Recipe = LDMRecipe | AutoencoderRecipe | EmbedderRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(AnyRecipe)
_NAMES = {
    "ldm": "a 3D latent diffusion model",
    "autoencoder": "an autoencoder alone",
    "embedder": "an embedder",
}


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
    recipe : LDMRecipe, AutoencoderRecipe or EmbedderRecipe
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
            key: (_halved(value) if half else value).detach().cpu().contiguous().clone()
            for key, value in weights[part].items()
        }
        with replacing(folder / name) as temporary:
            # Not save_file: on a full disk it raises an error of its own that nobody explains.
            temporary.write_bytes(save(tensors))
    write_json(folder / "recipe.json", recipe.model_dump(mode="json"))


def _halved(value: Tensor) -> Tensor:
    import torch

    if value.dtype != torch.float32 or (value.abs() > torch.finfo(torch.float16).max).any():
        return value
    return value.half()


def read_recipe(folder: str | Path, kind: str | None = None) -> Recipe:
    """Read `recipe.json` of a checkpoint folder.

    Parameters
    ----------
    folder : path
        The checkpoint's folder, or its `recipe.json`.
    kind : {"ldm", "autoencoder", "embedder"}, optional
        What is wanted here; another kind is an error.

    Raises
    ------
    BadInput
        No such folder or recipe, not JSON, a field that does not fit, a newer format, or another
        kind than wanted.
    """
    path = _recipe_path(folder)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
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
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()
        )
        raise BadInput(f"{path}: the recipe does not fit: {problems}.") from error
    if kind is not None and recipe.kind != kind:
        raise BadInput(
            f"{path.parent}: this is {_NAMES[recipe.kind]}, but {_NAMES[kind]} is needed here."
        )
    return recipe


def _recipe_path(folder: str | Path) -> Path:
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


def _weight_path(folder: Path, recipe: Recipe, part: str) -> Path:
    root = folder.resolve()
    name = recipe.files.get(part)
    if name is None:
        raise BadInput(f"{folder / 'recipe.json'}: 'files' names no weights for '{part}'.")
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BadInput(
            f"{folder / 'recipe.json'}: the weight file '{name}' lies outside the checkpoint's "
            "folder. Weights must lie inside it."
        )
    if not path.is_file():
        raise BadInput(f"{path}: missing, though recipe.json names it as the weights of '{part}'.")
    return path


def load_weights(folder: str | Path, part: str) -> dict[str, Tensor]:
    """Load one part's tensors as float32, never running anything in the file.

    Raises
    ------
    BadInput
        The file is missing, truncated, holds anything but tensors, or holds NaN or infinity.
    """
    import torch

    recipe = read_recipe(folder)
    path = _weight_path(_recipe_path(folder).parent, recipe, part)
    tensors = _read_tensors(path)
    # As float32 first: 8-bit floats cannot be asked whether they are finite.
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise BadInput(
            f"{path}: tensor '{bad[0]}' holds NaN or infinity ({len(bad)} such tensors). "
            "The training diverged or the file is damaged; use an earlier checkpoint."
        )
    return tensors


def _read_tensors(path: Path) -> dict[str, Tensor]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, ValueError, OSError) as error:
            raise BadInput(f"{path}: not a whole safetensors file ({error}).") from error
    try:
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        struct.error,
        OSError,
        EOFError,
        # What damaged bytes make of a pickle is any of these.
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        AssertionError,
    ) as error:
        raise BadInput(
            f"{path}: cannot be read as a state dict of tensors only ({_reason(error)}). Anything "
            "else in a weight file could run code, so it is refused; save model.state_dict() "
            "instead."
        ) from error
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) and v.layout == torch.strided
        for k, v in value.items()
    ):
        raise BadInput(
            f"{path}: holds {type(value).__name__} with other things than tensors. "
            "A bare state dict is expected: names to tensors."
        )
    return value


def _reason(error: Exception) -> str:
    """Return the cause in one line, without PyTorch's advice to load the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    if not text or text.startswith("Weights only load failed"):
        return type(error).__name__
    return text.splitlines()[0][:200]


def checkpoint_hash(folder: str | Path) -> str:
    """Return 16 hexadecimal digits over the recipe and the bytes of all weight files."""
    recipe = read_recipe(folder)
    root = _recipe_path(folder).parent
    files = {part: sha256_of(_weight_path(root, recipe, part)) for part in sorted(recipe.files)}
    return hash_of({"recipe": recipe.hash, "files": files})


def describe(folder: str | Path) -> str:
    """Say in one line what a checkpoint is.

    Examples
    --------
    ``3D LDM: latent 3 x 12 x 12 x 12, v_prediction, DDIM 25 steps, volumes 48 x 48 x 48``
    """
    recipe = read_recipe(folder)
    root = _recipe_path(folder).parent
    size = sum(_weight_path(root, recipe, part).stat().st_size for part in recipe.files) / 1e6
    if isinstance(recipe, LDMRecipe):
        text = (
            f"3D LDM: latent {_by(recipe.latent_shape)}, {recipe.scheduler.prediction_type}, "
            f"{recipe.sampler.upper()} {recipe.steps} steps, volumes "
            f"{_by(recipe.preprocessing.shape)}"
        )
    elif isinstance(recipe, EmbedderRecipe):
        text = f"contrastive embedder: {_by(recipe.input_shape)} to {recipe.dim} numbers"
    else:
        text = f"autoencoder alone: volumes {_by(recipe.preprocessing.shape)}; not an LDM yet"
    return f"{text} ({size:.1f} MB, {checkpoint_hash(folder)[:8]})"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
