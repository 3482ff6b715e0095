"""From what the user names, and trusts, to a model behind a child process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.checkpoint import Fact, LoadReport
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.trusted.child_model import TrustedCheckpoint, expect_shape
from napari_memscan.checkpoints.trusted.child_recipe import (
    EmbedderInterface,
    build_bundle_recipe,
    build_embedder_interface,
    build_plug_in_recipe,
)
from napari_memscan.checkpoints.trusted.client import CALL_SECONDS, LOAD_SECONDS, ChildProcess
from napari_memscan.checkpoints.trusted.hashed_files import list_bundle_files, list_plug_in_files
from napari_memscan.checkpoints.trusted.trust_check import (
    PlugInSpec,
    explain_refusal,
    find_bundle_config,
    needs_trust,
    parse_plug_in,
)
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.volumes.orientation import from_ras
from napari_memscan.volumes.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class TrustedNetwork:
    """An embedder's network in a child process.

    Attributes
    ----------
    name : str
        What the user named.
    child : Child
        The process.
    facts : EmbedderFacts
        What it takes and gives.
    report : LoadReport
        How it was loaded.
    """

    name: str
    child: ChildProcess
    facts: EmbedderInterface
    report: LoadReport

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What its volumes go through before; None when it does not say."""
        return self.facts.preprocessing

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over the bytes of its files, and what it takes and gives."""
        facts = self.facts.model_dump(mode="json")
        return hash_json({"facts": facts, "files": self.report.hashes})

    def embed(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector (dim,) of one volume (X, Y, Z) in RAS.

        Raises
        ------
        JobFailed
            The code raises, ends, hangs, or answers with something else.
        """
        turned = from_ras(volume, self.facts.axes)[None, None]
        dim = self.facts.dim
        vector: NDArray[np.float32] = self.child.call(
            "embed", {"batch": turned}, expect_shape((1, dim)), 4 * dim
        )[0]
        return vector


def open_trusted_checkpoint(
    path: str | Path,
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    *,
    trust: bool = False,
    device: str = "auto",
    load_seconds: float = LOAD_SECONDS,
    call_seconds: float = CALL_SECONDS,
) -> TrustedCheckpoint | None:
    """Open an LDM that can only be used by running code that comes with it.

    Parameters
    ----------
    path : path or str
        ``package.module:function``, ``path/to/file.py:function``, or a MONAI bundle.
    declared : Declared or mapping, optional
        What the model does not say; goes before what it says.
    trust : bool
        The user trusts whoever made it. The code then runs in a process of its own, which keeps
        memscan alive and its memory clean, but has all the rights of the user.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    load_seconds, call_seconds : float
        How long the code may take to load, and for each answer.

    Returns
    -------
    TrustedCheckpoint or None
        None where no code is needed: `checkpoints.loading.load` does it.

    Raises
    ------
    BadInput
        Code is needed and not trusted, or it does not load, or makes something else.
    """
    stated = ModelOverrides.of(declared)
    if not _check_trust(path, stated, trust, "ldm"):
        return None
    limits = {"load_seconds": load_seconds, "call_seconds": call_seconds}
    spec = parse_plug_in(path)
    if spec is not None:
        child = _start_plug_in(path, spec, device, limits)
        with _close_on_error(child):
            _require_kind(path, child, "ldm")
            recipe, facts = build_plug_in_recipe(path, child.description, stated)
            files, warnings = list_plug_in_files(path, child.description)
        report = LoadReport(
            "plug-in", "plug-in", files, facts=facts, warnings=warnings, trusted=True
        )
        return TrustedCheckpoint(Path(path), recipe, {}, report, child=child)
    config = find_bundle_config(Path(path))
    if config is None:
        raise BadInput(
            f"{path}: a single network can be used as an embedder, but an LDM is needed here. "
            "Write a plug-in that makes both of its networks (docs/plug-in.md)."
        )
    child = ChildProcess(
        str(path),
        "bundle",
        str(config.resolve()),
        ("--device", _choose_device_name(device)),
        **limits,
    )
    with _close_on_error(child):
        recipe, facts, warnings = build_bundle_recipe(path, child.description, stated)
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


def open_trusted_embedder(
    path: str | Path,
    declared: Mapping[str, Any] | ModelOverrides | None = None,
    *,
    trust: bool = False,
    device: str = "auto",
    load_seconds: float = LOAD_SECONDS,
    call_seconds: float = CALL_SECONDS,
) -> TrustedNetwork | None:
    """Open an embedder that can only be used by running code that comes with it.

    Parameters
    ----------
    path : path or str
        ``package.module:function``, ``path/to/file.py:function``, or a TorchScript file, for
        which `declared` states ``shape``, and ``intensity`` and ``axes`` where they are known.
    declared, trust, device, load_seconds, call_seconds
        See `open_trusted_checkpoint`.

    Returns
    -------
    TrustedVectors or None
        None where no code is needed: `checkpoints.loading.load` does it.

    Raises
    ------
    BadInput
        Code is needed and not trusted, or it does not load, or makes something else.
    """
    stated = ModelOverrides.of(declared)
    if not _check_trust(path, stated, trust, "embedder"):
        return None
    limits = {"load_seconds": load_seconds, "call_seconds": call_seconds}
    spec = parse_plug_in(path)
    if spec is not None:
        child = _start_plug_in(path, spec, device, limits)
        with _close_on_error(child):
            _require_kind(path, child, "embedder")
            files, warnings = list_plug_in_files(path, child.description)
            made = build_embedder_interface(path, child.description, stated)
    elif find_bundle_config(Path(path)) is not None:
        raise BadInput(
            f"{path}: of a bundle that needs its own code, the autoencoder cannot be an embedder. "
            "Write a plug-in around it (docs/plug-in.md)."
        )
    else:
        if stated.shape is None:
            raise BadInput(
                f"{path}: TorchScript does not say which volumes it takes. State their voxels "
                "along X, Y, Z: --set shape=64,64,64; and, where they are known, "
                "--set intensity=minmax and --set axes=RAS."
            )
        child = _start_torchscript(path, stated, device, limits)
        with _close_on_error(child):
            made = build_embedder_interface(path, child.description, stated)
            files, warnings = {"torchscript": Path(path)}, ()
    if made.preprocessing is None:
        warnings += (
            f"{path}: it does not say what its training volumes went through; the study's "
            "preprocessing is used as it is. If intensities were scaled otherwise, state it: "
            "--set intensity=minmax, percentile:LOW:HIGH or window:LOW:HIGH.",
        )
    facts = tuple(
        Fact(name, str(getattr(made, name)), "declared" if getattr(stated, name, None) else "code")
        for name in ("input_shape", "dim", "axes")
    )
    title = "plug-in" if spec is not None else "TorchScript"
    report = LoadReport(title.lower(), title, files, facts=facts, warnings=warnings, trusted=True)
    return TrustedNetwork(str(path), child, made, report)


def _check_trust(path: str | Path, declared: ModelOverrides, trust: bool, kind: str) -> bool:
    """Return whether code must and may be run; BadInput where it must and may not."""
    reason = needs_trust(path)
    if reason is None:
        return False
    if parse_plug_in(path) is None and find_bundle_config(Path(path)) is not None:
        from napari_memscan.checkpoints.loading import load_checkpoint

        # Whoever trusts code still has none run that is not needed.
        try:
            load_checkpoint(path, declared, kind=kind)
        except BadInput:
            pass
        else:
            return False
    if not trust:
        raise BadInput(explain_refusal(path))
    if parse_plug_in(path) is None and Path(path).suffix == ".py":
        raise BadInput(
            f"{path}: which function makes the model? Name it: {Path(path).name}:FUNCTION."
        )
    return True


def _choose_device_name(name: str) -> str:
    from napari_memscan.checkpoints.device import choose_device

    return str(choose_device(name))


def _start_plug_in(
    path: str | Path, spec: PlugInSpec, device: str, limits: dict[str, float]
) -> ChildProcess:
    target = spec.source
    if spec.file is not None:
        if not spec.file.is_file():
            raise BadInput(f"{spec.file}: no such file; a plug-in is named FILE.py:FUNCTION.")
        target = str(spec.file.resolve())
    options = ("--function", spec.function, "--device", _choose_device_name(device))
    return ChildProcess(str(path), "plugin", target, options, **limits)


def _start_torchscript(
    path: str | Path, stated: ModelOverrides, device: str, limits: dict[str, float]
) -> ChildProcess:
    assert stated.shape is not None
    lengths = dict(zip("RAS", stated.shape, strict=True)) | dict(
        zip("LPI", stated.shape, strict=True)
    )
    shape = [str(lengths[letter]) for letter in stated.axes or "RAS"]
    options = ("--device", _choose_device_name(device), "--shape", *shape)
    return ChildProcess(str(path), "torchscript", str(Path(path).resolve()), options, **limits)


@contextmanager
def _close_on_error(child: ChildProcess) -> Iterator[None]:
    """End the child when what it says does not do."""
    try:
        yield
    except BaseException:
        child.close()
        raise


def _require_kind(path: str | Path, child: ChildProcess, kind: str) -> None:
    made = child.description.get("kind")
    if made != kind:
        names = {"ldm": "an LDM", "embedder": "an embedder"}
        raise BadInput(
            f"{path}: the plug-in makes {names.get(str(made), 'something else')}, but "
            f"{names[kind]} is needed here."
        )
