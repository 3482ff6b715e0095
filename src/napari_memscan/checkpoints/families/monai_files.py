"""Which weight file is which part of a model of the MONAI family."""

from __future__ import annotations

import re
from pathlib import Path

from napari_memscan.checkpoints.bundle_config import BundleConfig, resolve_inside
from napari_memscan.checkpoints.families.monai_config import (
    find_stated_file,
    list_configs,
    matches_part,
)
from napari_memscan.checkpoints.probe import PathProbe

WEIGHT_FILE_NAMES: dict[str, tuple[str, ...]] = {
    "autoencoder": ("autoencoder", "model_autoencoder", "autoencoder_last"),
    "denoiser": ("diffusion_unet", "diffusion_model", "model", "diffusion_unet_last", "unet"),
}
"""Names of weight files, the preferred first."""
CONFIG_KEYS = {"autoencoder": "autoencoder|stage1", "denoiser": "diffusion|unet|ldm"}
"""How a configuration calls the key that names the file."""


def find_weight_files(
    found: PathProbe, config: BundleConfig
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """Return each part's weight file and the name it was looked for under.

    It is the stated one, else what the configuration names, else one with a usual name; None
    where it is not there.

    Raises
    ------
    BadInput
        A path leads out of the folder.
    """
    listed = config.weight_files()
    files: dict[str, Path | None] = {}
    named: dict[str, str] = {}
    lying = _list_nearby_weights(found, config)
    for part, words in CONFIG_KEYS.items():
        paths = [p for k, p in listed.items() if re.search(words, k) and "mask" not in k]
        named[part] = paths[0].name if paths else f"{WEIGHT_FILE_NAMES[part][0]}.pt"
        by_name = [p for name in WEIGHT_FILE_NAMES[part] for p in lying if p.stem == name]
        choices = [find_stated_file(found, part), *paths, *by_name]
        files[part] = next((p for p in choices if p is not None and p.is_file()), None)
    if not found.is_folder:
        # A single file with a configuration beside it: it is what it looks like.
        part = "denoiser"
        if any(matches_part(state, "autoencoder") for state in found.states(found.path)):
            part = "autoencoder"
        files[part] = found.path
    return files, named


def _list_nearby_weights(found: PathProbe, config: BundleConfig) -> list[Path]:
    """Return weight files of the folder, and of the one that ``model_dir`` names."""
    paths = list(found.weight_files) if found.is_folder else []
    for other in list_configs(found):
        folder = other.data.get("model_dir")
        if isinstance(folder, str) and re.fullmatch(r"[\w./ -]+", folder):
            inside = resolve_inside(found.root, folder, f"{other.path}: key 'model_dir'")
            if inside.is_dir() and inside not in {p.parent for p in paths}:
                paths += [found.inside(p) for p in sorted(inside.iterdir()) if p.is_file()]
    return paths
