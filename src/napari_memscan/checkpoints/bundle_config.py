"""Configurations of MONAI bundles and their kin, read as data and never as code.

A published model is weights plus a JSON or YAML file that says which networks they belong to.
MONAI runs such a file; here it is only read. Values are worked out when they are asked for, so
the code in other places of a file does no harm and is no error.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.config_file import read_config
from napari_memscan.checkpoints.expressions import (
    MAX_DEPTH,
    META_KEYS,
    REFERENCE_PATTERN,
    ConfigResolver,
    parse_expression,
)
from napari_memscan.errors import BadInput, Hint, HintKind

__all__ = [
    "BundleConfig",
    "ConfigTarget",
    "find_bundle_root",
    "read_config",
    "read_published_md5",
    "resolve_inside",
]

_NETWORKS = frozenset({"AutoencoderKL", "VQVAE", "DiffusionModelUNet", "ControlNet"})
_SCHEDULERS = frozenset({"DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "RFlowScheduler"})
_MAISI = frozenset({"AutoencoderKlMaisi", "DiffusionModelUNetMaisi", "ControlNetMaisi"})
_ALLOWED = {
    "monai.networks.nets": _NETWORKS,
    "monai.networks.schedulers": _SCHEDULERS,
    "monai.apps.generation.maisi.networks": _MAISI,
    "generative.networks.nets": _NETWORKS,
    "generative.networks.schedulers": _SCHEDULERS,
    # MONAI finds its own classes without their module too.
    "": _NETWORKS | _SCHEDULERS | _MAISI,
}
# One bundle brought a copy of this scheduler along; MONAI has the same since 1.4.
_COPIED_CLASSES = {"scripts.rectified_flow.RFlowScheduler": "RFlowScheduler"}

_WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors")
_WEIGHT_KEY = re.compile("load|path|file|checkpoint|ckpt|weight", re.IGNORECASE)


@dataclass(frozen=True)
class ConfigTarget:
    """A network or scheduler as a configuration asks for it.

    Parameters
    ----------
    name : str
        The class, without its module.
    arguments : dict
        Plain values, under the names that MONAI's class uses.
    """

    name: str
    arguments: dict[str, Any]


class BundleConfig:
    """A configuration from which values are worked out on demand.

    Parameters
    ----------
    data : dict
        As `read_config` returns it.
    path : path
        Of the file, for messages and for finding the weights.
    """

    def __init__(self, data: dict[str, Any], path: str | Path) -> None:
        self.data = data
        self.path = Path(path)

    @classmethod
    def read(cls, path: str | Path, *more: str | Path) -> BundleConfig:
        """Read a file, and others whose keys are added or take the place of earlier ones."""
        data = read_config(path)
        for other in more:
            data |= read_config(other)
        return cls(data, path)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def resolve(self, key: str) -> Any:
        """Work out the value of a key: ``"latent_shape"``, ``"train#lr"``, ``"output_size::0"``.

        Raises
        ------
        BadInput
            No such key, a reference that leads nowhere or to itself, or anything that would need
            code to run.
        """
        return ConfigResolver(self.data, self.path).reference(key)

    def target(self, key: str, default: str | None = None) -> ConfigTarget:
        """Read which network or scheduler a key describes, and with which arguments.

        Parameters
        ----------
        key : str
            Of an object with a ``_target_``, or of a reference to one.
        default : str, optional
            The class, where the object names none.

        Raises
        ------
        BadInput
            Not such an object, a class that is not on the list, or an argument that would need
            code to run.
        """
        resolver = ConfigResolver(self.data, self.path, plain=True)
        raw = _follow_reference(resolver, key)
        name = raw.get("_target_", default) if isinstance(raw, dict) else None
        bare = _find_allowed_class(name) if isinstance(name, str) else None
        if bare is None:
            raise BadInput(
                f"{self.path}: key '{key}' describes no network or scheduler that memscan knows "
                f"(_target_: {str(name)[:80]}). From a configuration it builds only these classes "
                f"of MONAI and monai-generative: {', '.join(sorted(_ALLOWED['']))}. Others need "
                "code.",
                Hint(HintKind.TRUST),
            )
        taken = {k: v for k, v in raw.items() if k not in META_KEYS | {"_target_"}}
        arguments = resolver.under(key, taken)
        return ConfigTarget(bare, _rename_arguments(bare, arguments))

    def weight_files(self) -> dict[str, Path]:
        """Find the weight files that the configuration names, by key.

        They are looked for below the bundle's folder, whatever its ``bundle_root`` says, and
        need not exist.

        Raises
        ------
        BadInput
            A path leads out of the bundle's folder.
        """
        root = find_bundle_root(self.path)
        resolver = ConfigResolver(self.data | {"bundle_root": "."}, self.path)
        found = {}
        for key, raw in self.data.items():
            if isinstance(key, str) and _WEIGHT_KEY.search(key):
                for text in _iter_strings(raw):
                    name = _find_weight_name(resolver, text)
                    if name is not None:
                        found[key] = self._placed(resolver, root, key, name)
                        break
        return found

    def _placed(self, resolver: ConfigResolver, root: Path, key: str, name: str) -> Path:
        path = resolve_inside(root, name, f"{self.path}: key '{key}'")
        if path.parent == root.resolve() and "model_dir" in self and not path.exists():
            folder = _try_call(resolver.reference, "model_dir")
            if isinstance(folder, str):
                return resolve_inside(root, f"{folder}/{name}", f"{self.path}: key '{key}'")
        return path

    def latent_shape(self) -> tuple[int, ...] | None:
        """Return the latents' shape (channels first, no batch axis), or None if it is not told."""
        resolver = ConfigResolver(self.data, self.path)
        if "latent_shape" in self:
            shape = _to_shape(_try_call(resolver.reference, "latent_shape"), 4)
            if shape is not None:
                return shape
        noise = self.data.get("noise")
        for value in _iter_parts(resolver, noise) if isinstance(noise, str) else ():
            shape = _to_shape(value, 5)
            if shape is not None:
                return shape[1:]
        return None


def _follow_reference(resolver: ConfigResolver, key: str) -> Any:
    """Return what stands under a key, or where a bare reference there leads, unresolved."""
    for _ in range(MAX_DEPTH):
        raw = resolver.raw(key)
        text = re.sub(r"^(\$@|%)", "@", raw) if isinstance(raw, str) else ""
        match = REFERENCE_PATTERN.fullmatch(text)
        if match is None:
            return raw
        key = match[1]
    raise resolver.refused(f"'{key[:80]}' refers to itself.")


def _find_allowed_class(name: str) -> str | None:
    module, dot, bare = name.rpartition(".")
    packages = {module, module.rpartition(".")[0]} - {""} if dot else {""}
    if any(bare in _ALLOWED.get(package, ()) for package in packages):
        return bare
    return _COPIED_CLASSES.get(name)


def _rename_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    # The names of monai-generative; the Maisi classes have kept them.
    new = {"num_channels": "channels"} if name in _NETWORKS else {}
    if name == "AutoencoderKL":
        new["use_checkpointing"] = "use_checkpoint"
    return {new.get(key, key): value for key, value in arguments.items()}


def _try_call(work: Any, *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except BadInput:
        return None


def _to_shape(value: Any, length: int) -> tuple[int, ...] | None:
    if not isinstance(value, tuple | list) or len(value) != length:
        return None
    return tuple(value) if all(type(size) is int and size > 0 for size in value) else None


def _iter_parts(resolver: ConfigResolver, text: str) -> Iterator[Any]:
    """Yield the values of an expression's parts, from the outside in; code has none."""
    try:
        tree, names = parse_expression(text)
    except ValueError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            yield _try_call(resolver.node, node, names, text)
        if isinstance(node, ast.Call):
            yield [_try_call(resolver.node, part, names, text) for part in node.args]


def _iter_strings(raw: Any) -> Iterator[str]:
    todo = [raw]
    for item in todo:  # It grows meanwhile.
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            todo.extend(item.values() if isinstance(item, dict) else item)


def _find_weight_name(resolver: ConfigResolver, text: str) -> str | None:
    if not any(suffix in text for suffix in _WEIGHT_SUFFIXES) or "://" in text:
        return None
    for value in _iter_parts(resolver, text) if text.startswith("$") else (text,):
        if isinstance(value, str) and value.endswith(_WEIGHT_SUFFIXES) and Path(value).suffix:
            # What follows a folder that only code could tell is no absolute path.
            appended = re.search(rf"\+\s*['\"]{re.escape(value)}", text)
            return value.removeprefix("/") if appended else value
    return None


def resolve_inside(root: Path, name: str, where: str) -> Path:
    """Return the path of a file below a folder, links followed.

    Raises
    ------
    BadInput
        It lies elsewhere; `where` begins the message.
    """
    outside = BadInput(
        f"{where} names '{name[:160]}', which leads out of the folder {root}. Weights must lie "
        "inside it: copy the file there (itself, not a link) and write its path from there."
    )
    if re.match(r"[/\\~]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise outside
    path = root.resolve() / name
    try:
        leads_to = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise outside from error
    if not leads_to.is_relative_to(find_allowed_root(root)):
        raise outside
    return path


def find_allowed_root(root: Path) -> Path:
    """Return the folder that files of a model must not leave: the model's own, links followed.

    In the cache of Hugging Face a snapshot holds only links to ``blobs`` two floors above; there
    it is the folder of the repository, which holds nothing else.
    """
    root = root.resolve()
    repository = root.parent.parent
    if root.parent.name == "snapshots" and (repository / "blobs").is_dir():
        return repository
    return root


def find_bundle_root(path: str | Path) -> Path:
    """Return a bundle's folder: the one that holds ``configs``, or else the file's own."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    for ancestor in (folder, *folder.parents[:1]):
        if ancestor.name in ("configs", "config"):
            return ancestor.parent
    return folder


def read_published_md5(root: str | Path) -> dict[str, str]:
    """Return the MD5 sums that a bundle's ``large_files.yml`` promises, by path in the bundle.

    Raises
    ------
    BadInput
        The file is there but cannot be read.
    """
    names = ("large_files.yml", "large_files.yaml")
    path = next((Path(root) / name for name in names if (Path(root) / name).is_file()), None)
    listed: Any = None if path is None else read_config(path).get("large_files")
    sums = {}
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("hash_type") == "md5":
            name, value = entry.get("path"), str(entry.get("hash_val")).lower()
            if isinstance(name, str) and re.fullmatch("[0-9a-f]{32}", value):
                sums[Path(name).as_posix()] = value
    return sums
