"""From what the user names, and trusts, to a model behind a child process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_memscan.checkpoints.checkpoint import Fact, LoadReport
from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.latent_model import from_ras_order
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe_fields import KIND_TITLES, CheckpointKind
from napari_memscan.checkpoints.trusted.child_model import TrustedCheckpoint
from napari_memscan.checkpoints.trusted.child_recipe import (
    build_bundle_recipe,
    build_embedder_recipe,
    build_plug_in_recipe,
)
from napari_memscan.checkpoints.trusted.client import ChildProcess
from napari_memscan.checkpoints.trusted.hashed_files import list_bundle_files, list_plug_in_files
from napari_memscan.checkpoints.trusted.trust_check import (
    PlugInSpec,
    find_bundle_config,
    parse_plug_in,
)
from napari_memscan.errors import BadInput, Hint, HintKind


def open_trusted(
    path: str | Path,
    declared: ModelOverrides,
    kind: CheckpointKind | None = None,
    device: str = "auto",
) -> TrustedCheckpoint:
    """Run the code that a model comes with, and return the model; see `load_checkpoint`.

    Parameters
    ----------
    path : path or str
        ``package.module:function``, ``path/to/file.py:function``, a MONAI bundle, or a TorchScript
        file, for which `declared` states ``shape``, and ``intensity`` and ``axes`` where they are
        known.
    declared, kind, device
        See `load_checkpoint`.

    Raises
    ------
    BadInput
        The code does not load, or makes something else than what is wanted.
    """
    spec, config = parse_plug_in(path), find_bundle_config(Path(path))
    where = str(choose_device(device))
    if spec is not None:
        return _open_plug_in(path, spec, declared, kind, where)
    if Path(path).suffix == ".py":
        raise BadInput(
            f"{path}: which function makes the model? Name it: {Path(path).name}:FUNCTION."
        )
    if config is not None:
        return _open_bundle(path, config, declared, where)
    if kind == "ldm":
        raise BadInput(
            f"{path}: a single network can be used as an embedder, but an LDM is needed here. "
            "Write a plug-in that makes both of its networks (docs/plug-in.md)."
        )
    return _open_torchscript(path, declared, where)


def _open_plug_in(
    path: str | Path,
    spec: PlugInSpec,
    declared: ModelOverrides,
    kind: CheckpointKind | None,
    device: str,
) -> TrustedCheckpoint:
    target = spec.source
    if spec.file is not None:
        if not spec.file.is_file():
            raise BadInput(f"{spec.file}: no such file; a plug-in is named FILE.py:FUNCTION.")
        target = str(spec.file.resolve())
    options = ("--function", spec.function, "--device", device)
    child = ChildProcess(str(path), "plugin", target, options)
    with _close_on_error(child):
        made = child.description.get("kind")
        if kind not in (None, made):
            what = KIND_TITLES["ldm" if made == "ldm" else "embedder"]
            raise BadInput(
                f"{path}: the plug-in makes {what}, but {KIND_TITLES[kind]} is needed here."
            )
        files, warnings = list_plug_in_files(path, child.description)
        if made == "embedder":
            return _make_embedder(path, child, declared, "plug-in", files, warnings)
        recipe, facts = build_plug_in_recipe(path, child.description, declared)
    report = LoadReport("plug-in", "plug-in", files, facts=facts, warnings=warnings, trusted=True)
    return TrustedCheckpoint(Path(path), recipe, {}, report, child=child)


def _open_bundle(
    path: str | Path, config: Path, declared: ModelOverrides, device: str
) -> TrustedCheckpoint:
    child = ChildProcess(str(path), "bundle", str(config.resolve()), ("--device", device))
    with _close_on_error(child):
        recipe, facts, warnings = build_bundle_recipe(path, child.description, declared)
        root = (
            config.parent.parent if config.parent.name in ("configs", "config") else config.parent
        )
        report = LoadReport(
            "bundle",
            "MONAI bundle, run as its author meant it",
            list_bundle_files(root),
            facts=facts,
            warnings=warnings,
            trusted=True,
        )
    return TrustedCheckpoint(Path(path), recipe, {}, report, child=child)


def _open_torchscript(path: str | Path, declared: ModelOverrides, device: str) -> TrustedCheckpoint:
    if declared.shape is None:
        raise BadInput(
            f"{path}: TorchScript does not say which volumes it takes: their voxels along X, Y, Z, "
            "as shape=64,64,64; and, where they are known, intensity=minmax and axes=RAS.",
            Hint(HintKind.STATE, "NAME=VALUE"),
        )
    shape = from_ras_order(declared.shape, declared.axes or "RAS")
    options = ("--device", device, "--shape", *map(str, shape))
    child = ChildProcess(str(path), "torchscript", str(Path(path).resolve()), options)
    with _close_on_error(child):
        return _make_embedder(path, child, declared, "TorchScript", {"torchscript": Path(path)})


def _make_embedder(
    path: str | Path,
    child: ChildProcess,
    declared: ModelOverrides,
    title: str,
    files: dict[str, Path],
    warnings: tuple[str, ...] = (),
) -> TrustedCheckpoint:
    recipe = build_embedder_recipe(path, child.description, declared)
    if recipe.preprocessing is None:
        warnings += (
            f"{path}: it does not say what its training volumes went through; the study's "
            "preprocessing is used as it is. If intensities were scaled otherwise, state it, as "
            "intensity=minmax, percentile:LOW:HIGH or window:LOW:HIGH.",
        )
    stated = {"input_shape": declared.shape, "axes": declared.axes}
    facts = tuple(
        Fact(name, str(getattr(recipe, name)), "declared" if stated.get(name) else "code")
        for name in ("input_shape", "dim", "axes")
    )
    report = LoadReport(title.lower(), title, files, facts=facts, warnings=warnings, trusted=True)
    return TrustedCheckpoint(Path(path), recipe, {}, report, child=child)


@contextmanager
def _close_on_error(child: ChildProcess) -> Iterator[None]:
    """End the child when what it says does not do."""
    try:
        yield
    except BaseException:
        child.close()
        raise
