"""What lies at a path: weight files and configurations, looked at and never run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.state_dicts import StateDict, find_states
from napari_memscan.checkpoints.weights import WeightFile, open_weights
from napari_memscan.errors import BadInput, Hint, HintKind

if TYPE_CHECKING:
    from napari_memscan.checkpoints.bundle_config import BundleConfig

WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")
CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
MAX_FOUND_FILES = 200
WEIGHT_FOLDERS = ("", "configs", "config", "models", "weights")
"""Where bundles and trainings keep what belongs together."""


class PathProbe:
    """What lies at a path.

    Parameters
    ----------
    path : path
        A weight file, a configuration, or a folder with both.
    declared : ModelOverrides
        What the user states besides; further files may be among it.

    Attributes
    ----------
    path, root : Path
        What was named, and the folder that files must not leave.

    Raises
    ------
    BadInput
        There is no such file or folder.
    """

    def __init__(self, path: str | Path, declared: ModelOverrides | None = None) -> None:
        self.path = Path(path)
        self.declared = declared or ModelOverrides()
        if not self.path.exists():
            raise BadInput(f"{self.path}: no such file or folder. Check the path.")
        folder = self.path if self.path.is_dir() else self.path.parent
        # The configuration of a bundle lies one floor below its root.
        self.root = folder.parent if folder.name in ("configs", "config") else folder
        self._opened: dict[Path, WeightFile] = {}

    @property
    def is_folder(self) -> bool:
        """Whether a folder or a configuration was named, which both mean a whole model."""
        return self.path.is_dir() or self.path.suffix.lower() in CONFIG_SUFFIXES

    @cached_property
    def weight_files(self) -> list[Path]:
        """Weight files: the named one, or those of the folder, in the order of their names."""
        if not self.is_folder:
            return [self.path]
        return self._files(WEIGHT_SUFFIXES)

    @cached_property
    def configs(self) -> list[BundleConfig]:
        """Configurations that can be read: the declared one or folder of them, or the model's."""
        from napari_memscan.checkpoints.bundle_config import BundleConfig, read_config

        stated = self.declared.config
        if stated is not None and not Path(stated).is_dir():
            path = Path(stated)
            return [BundleConfig(read_config(path), path)]
        if stated is not None:
            paths = [p for p in Path(stated).iterdir() if p.suffix.lower() in CONFIG_SUFFIXES]
            paths = sorted(paths)[:MAX_FOUND_FILES]
        elif not self.is_folder:
            return []
        else:
            paths = [self.path] if self.path.is_file() else self._files(CONFIG_SUFFIXES)
        configs = []
        for path in paths:
            try:
                configs.append(BundleConfig(read_config(path), path))
            except BadInput:
                if path == self.path:
                    raise
        return configs

    def _files(self, suffixes: Sequence[str]) -> list[Path]:
        found: list[Path] = []
        for name in WEIGHT_FOLDERS:
            folder = self.root / name
            if folder.is_dir():
                found += sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
        if len(found) > MAX_FOUND_FILES:
            raise BadInput(
                f"{self.root}: more than {MAX_FOUND_FILES} weight files or configurations. Choose"
                " the folder of one model."
            )
        return [self.inside(path) for path in found if path.is_file()]

    def inside(self, path: Path) -> Path:
        """Return `path` if it lies inside the folder, links followed; BadInput otherwise."""
        from napari_memscan.checkpoints.bundle_config import find_allowed_root

        if not path.resolve().is_relative_to(find_allowed_root(self.root)):
            raise BadInput(
                f"{path}: leads out of {self.root}. Weights and configurations must lie inside."
            )
        return path

    def open(self, path: Path) -> WeightFile:
        """Open a weight file once."""
        if path not in self._opened:
            self._opened[path] = open_weights(path)
        return self._opened[path]

    def states(self, path: Path) -> list[StateDict]:
        """Return all state dicts of a weight file; BadInput where there is none."""
        states = find_states(self.open(path).content)
        if not states:
            raise BadInput(
                f"{path}: holds no state dict (names to tensors). Save model.state_dict()."
            )
        return states

    def partner(self, stated: str | None, name: str) -> Path:
        """Return the file of another part of the model that the user stated.

        Raises
        ------
        BadInput
            None was stated, or it is not there.
        """
        if stated is None:
            raise BadInput(
                f"{self.path}: the {name} lies in a file of its own.",
                Hint(HintKind.STATE, f"{name}=FILE"),
            )
        path = Path(stated).expanduser()
        if not path.is_file():
            raise BadInput(f"{path}: no such file, though it is named as the {name}.")
        return path
