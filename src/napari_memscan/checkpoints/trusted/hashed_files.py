"""Which files the hash of a trusted model covers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput

MAX_HASHED_FILES = 10_000


def list_plug_in_files(
    path: str | Path, said: Mapping[str, Any]
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return all files a plug-in is known to depend on, by names that hold on other machines."""
    listed = said.get("files")
    sources = [said.get("source"), *(said.get("sources") or ())]
    if not isinstance(listed, dict) or not all(isinstance(s, str) for s in sources):
        raise BadInput(f"{path}: the plug-in has no source file, so what was run is not known.")
    main = Path(sources[0]).parent
    files = {f"source {_relative_name(source, main)}": Path(source) for source in sources}
    files |= {str(name): main / str(file) for name, file in listed.items()}
    missing = [file for file in files.values() if not file.is_file()]
    if missing:
        raise BadInput(f"{missing[0]}: no such file, though the plug-in {path} depends on it.")
    if listed:
        return files, ()
    return files, (
        f"{path}: the plug-in lists no files, so weights that it reads are not part of the hash "
        "of its samples. List them in its attribute 'files'.",
    )


def _relative_name(file: str, folder: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def list_bundle_files(root: Path) -> dict[str, Path]:
    """Return all files of a bundle by their path inside, but for caches and hidden ones."""
    found = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        skipped = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if not skipped and path.is_file():
            found[inside.as_posix()] = path
        if len(found) > MAX_HASHED_FILES:
            raise BadInput(
                f"{root}: more than {MAX_HASHED_FILES:,} files; choose the bundle's folder."
            )
    return found
