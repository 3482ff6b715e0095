"""In the child: what a user's own function returns, as a model."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.trusted.wire import ModelRefused

if TYPE_CHECKING:
    from torch import Tensor


class PlugInModel:
    """A user's LDM or embedder.

    Parameters
    ----------
    source : str
        ``package.module``, or the path of a file that ends in ``.py``.
    function : str
        Takes no arguments, and returns an object with `recipe`, `denoise` and `decode`, or with
        `input_shape`, `dim` and `embed`.
    device : str
        Where inputs lie; the function may take it as an argument named `device`.
    """

    def __init__(self, source: str, function: str, device: str) -> None:
        self.device = device
        module = _import_source(source)
        self._file = getattr(module, "__file__", None)
        self._folder = _find_code_folder(module)
        make = getattr(module, function, None)
        if not callable(make):
            raise ModelRefused(f"{source} has no function '{function}'")
        self._made = make(**({"device": device} if _takes_device(make) else {}))
        self.is_embedder = hasattr(self._made, "embed")
        wanted = ("input_shape", "dim", "embed")
        if not self.is_embedder:
            wanted = ("recipe", "denoise", "decode")
        missing = [name for name in wanted if not hasattr(self._made, name)]
        if missing:
            raise ModelRefused(
                f"{function}() returned a {type(self._made).__name__} without {', '.join(missing)};"
                " an LDM has recipe, denoise and decode, an embedder has input_shape, dim and embed"
            )
        self.close = getattr(self._made, "close", None)

    def describe(self) -> dict[str, Any]:
        """Return kind, recipe or sizes, and the files it depends on."""
        made: dict[str, Any] = {
            "source": self._file,
            "sources": sorted(_list_sources(self._folder)),
            "files": {str(k): str(v) for k, v in dict(getattr(self._made, "files", {})).items()},
        }
        if self.is_embedder:
            return made | {
                "kind": "embedder",
                "input_shape": _to_plain(self._made.input_shape),
                "dim": _to_plain(self._made.dim),
                "axes": _to_plain(getattr(self._made, "axes", None)),
                "preprocessing": _to_plain(getattr(self._made, "preprocessing", None)),
            }
        if not isinstance(self._made.recipe, Mapping):
            raise ModelRefused(
                f"recipe is a {type(self._made.recipe).__name__}, a dict is expected"
            )
        return made | {"kind": "ldm", "recipe": _to_plain(self._made.recipe)}

    def denoise(self, latent: Tensor, level: Tensor, **condition: Tensor) -> Any:
        """Return the prediction for scaled latents (N, C, x, y, z) at levels (N,)."""
        return self._made.denoise(latent, level, **condition)

    def decode(self, latent: Tensor) -> Any:
        """Map unscaled latents (N, C, x, y, z) to volumes (N, 1, X, Y, Z)."""
        return self._made.decode(latent)

    def encode_mean(self, volume: Tensor) -> Any:
        """Map volumes (N, 1, X, Y, Z) to unscaled latents, without drawing."""
        if not hasattr(self._made, "encode_mean"):
            raise ModelRefused("the plug-in has no encode_mean")
        return self._made.encode_mean(volume)

    def embed(self, batch: Tensor) -> Any:
        """Map volumes (N, 1, X, Y, Z) to vectors (N, d)."""
        return self._made.embed(batch)


def _import_source(source: str) -> Any:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source)
    # As python itself does for a script: modules beside it can be imported.
    sys.path.insert(0, str(path.parent))
    name = f"plug_in_{path.stem}"  # A file json.py must not take the place of Python's.
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelRefused(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _find_code_folder(module: Any) -> Path | None:
    """Return the folder of the plug-in's own code; None for one file among others'."""
    name = str(module.__name__).partition(".")[0]
    top = sys.modules.get(name, module)
    file = getattr(top, "__file__", None)
    if file is None:
        return None
    folder = Path(file).resolve().parent
    return None if folder.name in ("site-packages", "dist-packages") else folder


def _list_sources(folder: Path | None) -> set[str]:
    """Return the files of all imported modules below a folder."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    paths = {Path(file).resolve() for file in files if isinstance(file, str)}
    inside = {p for p in paths if folder is not None and p.is_relative_to(folder)}
    return {str(p) for p in inside if "site-packages" not in p.relative_to(folder or p).parts}


def _takes_device(make: Any) -> bool:
    import inspect

    try:
        return "device" in inspect.signature(make).parameters
    except (TypeError, ValueError):
        return False


def _to_plain(value: Any) -> Any:
    """Return tuples, sizes and numbers of numpy as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(inner) for inner in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    return value
