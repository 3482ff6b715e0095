"""What lies at a path: weight files and configurations, looked at and never run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.checkpoints.overrides import Declared
from napari_memscan.checkpoints.states import State, find_states
from napari_memscan.checkpoints.weights import WeightFile, open_weights
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.checkpoints.bundle import Config

WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")
CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
MOST_FILES = 200
FOLDERS = ("", "configs", "config", "models", "weights")
"""Where bundles and trainings keep what belongs together."""


class Found:
    """What lies at a path.

    Parameters
    ----------
    path : path
        A weight file, a configuration, or a folder with both.
    declared : Declared
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

    def __init__(self, path: str | Path, declared: Declared | None = None) -> None:
        self.path = Path(path)
        self.declared = declared or Declared()
        if not self.path.exists():
            from napari_memscan.checkpoints.trusted.spec import plug_in, refused

            if plug_in(path) is not None:
                raise BadInput(refused(path))
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
    def configs(self) -> list[Config]:
        """Configurations that can be read: the declared one or folder of them, or the model's."""
        from napari_memscan.checkpoints.bundle import Config, read_config

        stated = self.declared.config
        if stated is not None and not Path(stated).is_dir():
            path = Path(stated)
            return [Config(read_config(path), path)]
        if stated is not None:
            paths = [p for p in Path(stated).iterdir() if p.suffix.lower() in CONFIG_SUFFIXES]
            paths = sorted(paths)[:MOST_FILES]
        elif not self.is_folder:
            return []
        else:
            paths = [self.path] if self.path.is_file() else self._files(CONFIG_SUFFIXES)
        configs = []
        for path in paths:
            try:
                configs.append(Config(read_config(path), path))
            except BadInput:
                if path == self.path:
                    raise
        return configs

    def _files(self, suffixes: Sequence[str]) -> list[Path]:
        found: list[Path] = []
        for name in FOLDERS:
            folder = self.root / name
            if folder.is_dir():
                found += sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes)
        if len(found) > MOST_FILES:
            raise BadInput(
                f"{self.root}: more than {MOST_FILES} weight files or configurations. Choose the "
                "folder of one model."
            )
        return [self.inside(path) for path in found if path.is_file()]

    def inside(self, path: Path) -> Path:
        """Return `path` if it lies inside the folder, links followed; BadInput otherwise."""
        from napari_memscan.checkpoints.bundle import limit

        if not path.resolve().is_relative_to(limit(self.root)):
            raise BadInput(
                f"{path}: leads out of {self.root}. Weights and configurations must lie inside."
            )
        return path

    def open(self, path: Path) -> WeightFile:
        """Open a weight file once."""
        if path not in self._opened:
            self._opened[path] = open_weights(path)
        return self._opened[path]

    def states(self, path: Path) -> list[State]:
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
                f"{self.path}: the {name} lies in a file of its own; name it: --set {name}=FILE."
            )
        path = Path(stated).expanduser()
        if not path.is_file():
            raise BadInput(f"{path}: no such file, though it is named as the {name}.")
        return path
