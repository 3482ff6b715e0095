"""Can this path only be used by running code? Answered without running any."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.files import make_absolute

TRUST_WARNING = (
    "That runs code from the file, with your rights: it can read, change and send whatever you "
    "can. It has a process of its own, which keeps memscan alive but is no sandbox."
)
"""For every place that asks the user for trust."""

AUTOENCODER_KEYS = ("autoencoder_def",)
DENOISER_KEYS = ("diffusion_def", "diffusion_unet_def", "network_def", "unet_def")
SCHEDULER_KEYS = ("noise_scheduler", "scheduler")
"""Under which keys bundles describe their parts; the first that is there counts."""

_NAME = r"[^\W\d]\w*"
_MODULE = re.compile(rf"{_NAME}(\.{_NAME})*")
_CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")


@dataclass(frozen=True)
class PlugInSpec:
    """A function of the user's own that makes a model.

    Attributes
    ----------
    source : str
        ``package.module``, or a path to a file that ends in ``.py``.
    function : str
        Its name.
    """

    source: str
    function: str

    @property
    def file(self) -> Path | None:
        """The file that was named; None for a module."""
        return Path(self.source).expanduser() if self.source.endswith(".py") else None


def parse_plug_in(spec: str | Path) -> PlugInSpec | None:
    """Read ``package.module:function`` or ``path/to/file.py:function``; None for anything else."""
    source, colon, function = str(spec).rpartition(":")
    if not colon or re.fullmatch(_NAME, function) is None or _path_exists(spec):
        return None
    # A single letter is a drive of Windows.
    if source.endswith(".py") or (_MODULE.fullmatch(source) and len(source) > 1):
        return PlugInSpec(source, function)
    return None


def _path_exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def needs_trust(path: str | Path) -> str | None:
    """Say why a path can only be used by running code that comes with it. Nothing is run.

    Parameters
    ----------
    path : path or str
        Anything a user may name as a model.

    Returns
    -------
    str or None
        One sentence for people; None where no code is needed, or nothing is known of the path.
    """
    if parse_plug_in(path) is not None:
        return f"{path} is a plug-in: Python code that makes the model."
    path = Path(path)
    try:
        if path.suffix == ".py" and path.is_file():
            return f"{path} is Python code; as a plug-in it is named {path.name}:FUNCTION."
        if path.is_file() and is_torchscript(path):
            return f"{path} is TorchScript, which is a program and not only weights."
        config = find_bundle_config(path)
    except (OSError, ValueError):
        return None
    return None if config is None else _explain_bundle_code(config)


def explain_refusal(path: str | Path) -> BadInput:
    """Return the error of a path that needs trust and has none; says what trust means."""
    return BadInput(
        f"{needs_trust(path)} It is refused as long as it is not trusted. {TRUST_WARNING}",
        Hint(HintKind.TRUST),
    )


def resolve_model_path(spec: str | Path, folder: str | Path) -> str:
    """Return what a user named in a folder so that it holds from everywhere.

    Parameters
    ----------
    spec : path or str
        Anything a user may name as a model; ``package.module:function`` stays as it is.
    folder : path
        Where relative paths start.
    """
    plug = parse_plug_in(spec)
    if plug is None:
        return str(make_absolute(Path(folder) / Path(spec).expanduser()))
    if plug.file is None:
        return str(spec)
    return f"{make_absolute(Path(folder) / plug.file)}:{plug.function}"


def is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive with a program in it, by the names inside."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name).parts[1:] for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return False
    return any(name == ("constants.pkl",) or name[:1] == ("code",) for name in names)


def find_bundle_config(path: Path) -> Path | None:
    """Return the configuration of a MONAI bundle that was named, or whose folder was."""
    if path.is_file():
        return path if path.name in _CONFIG_NAMES else None
    if (path / "recipe.json").exists():
        return None
    places = [path / "configs" / name for name in _CONFIG_NAMES]
    return next((place for place in places if place.is_file()), None)


def _explain_bundle_code(path: Path) -> str | None:
    from napari_memscan.checkpoints.bundle_config import BundleConfig

    try:
        config = BundleConfig.read(path)
    except BadInput:
        return None
    parts = [find_first(config.data, names) for names in (AUTOENCODER_KEYS, DENOISER_KEYS)]
    if None in parts:
        return None
    for key in (*parts, find_first(config.data, SCHEDULER_KEYS)):
        if key is None:
            continue
        try:
            config.target(key)
        except BadInput as error:
            return f"It needs code of its bundle: {error}"
    return None


def find_first(known: Iterable[str], names: Iterable[str]) -> str | None:
    """Return the first of `names` that is known."""
    known = set(known)
    return next((name for name in names if name in known), None)
