"""Weight files of unknown origin to tensors, without running anything in them.

PyTorch's own restricted reader (``weights_only``) does the reading; what it does not know but what
training programs are known to leave in a file (settings of Lightning, OmegaConf, argparse) becomes
an inert `OpaqueObject`. There is no fallback to a reader that runs code.
"""

from __future__ import annotations

import pickle
import stat
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.checkpoints.archive import check_archive
from napari_memscan.checkpoints.pickle_scan import MAX_PICKLE_BYTES, check_pickle
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

HARMLESS_GLOBALS = (
    "argparse.Namespace",
    "builtins.bool",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.set",
    "builtins.str",
    "builtins.tuple",
    "builtins.type",
    "collections.defaultdict",
    "collections.deque",
    "datetime.",
    "decimal.Decimal",
    "enum.",
    "fractions.Fraction",
    "pathlib.",
    "typing.",
    "uuid.",
    "numpy.dtype",
    "numpy.dtypes.",
    "numpy.ndarray",
    "numpy.random.",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "antlr4.",
    "monai.",
    "omegaconf.",
    "yacs.",
    "easydict.",
    "ml_collections.",
    "addict.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "pytorch_lightning.",
    "torch.optim.",
    "torchmetrics.",
)
"""What becomes inert: names, or with a dot at the end everything below. All else is refused."""

_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it first",
    b"\x89HDF": "an HDF5 file (Keras?); PyTorch weights are needed",
    b"\x93NUMPY": "a NumPy array",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a program",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run 'git lfs pull'",
    b"<!doctype": "a web page, perhaps a login page; download the file again",
    b"<html": "a web page, perhaps a login page; download the file again",
    b"GGUF": "a GGUF file; PyTorch weights are needed",
    b"\x08": "perhaps ONNX, which is a program; PyTorch weights are needed",
}


class OpaqueObject:
    """Stands where a file holds an object that is not needed: keeps what is known, does nothing."""

    what = "?"

    def __new__(cls, *args: Any, **_: Any) -> OpaqueObject:
        """Take whatever the real one would be made from."""
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        self.args: tuple[Any, ...]

    def __setstate__(self, state: Any) -> None:
        """Keep what the real one would be filled with; attributes as attributes."""
        if isinstance(state, dict):
            self.__dict__.update((str(key), value) for key, value in state.items())
        else:
            self.__dict__["state"] = state

    def __repr__(self) -> str:
        return f"<{self.what}>"


@dataclass(frozen=True, eq=False)
class WeightFile:
    """What a weight file holds. Tensors of zip archives and safetensors are read when touched.

    Attributes
    ----------
    path : Path
        The file.
    container : {"safetensors", "zip", "legacy"}
        How it is packed.
    content : object
        Dictionaries, lists, numbers, text, tensors and `OpaqueObject`, as the file nests them.
    foreign : tuple of str
        Names of classes that were not imported; their objects are `OpaqueObject`.
    metadata : dict
        Text of a safetensors header.
    """

    path: Path
    container: str
    content: Any
    foreign: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def detect_container(path: Path) -> str:
    """Return how a file is packed, by its first bytes: ``safetensors``, ``zip`` or ``legacy``.

    Raises
    ------
    BadInput
        Missing, not a regular file, empty, or something else; says what where it is known.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path}: not a regular file. Choose the weight file itself.")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise BadInput(f"{str(path)!r}: not a path ({error}).") from error
    if not head:
        raise BadInput(f"{path}: is empty. Copy or download it again.")
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "legacy"
    for magic, what in _MAGIC.items():
        if head.lower().lstrip().startswith(magic.lower()) or head.startswith(magic):
            raise BadInput(f"{path}: this is {what}.")
    raise BadInput(
        f"{path}: not a weight file: neither safetensors nor what torch.save writes. It may be "
        "damaged; copy or download it again."
    )


def open_weights(path: str | Path) -> WeightFile:
    """Read a weight file without running anything in it.

    Raises
    ------
    BadInput
        Not a weight file, damaged, or holding more than tensors, settings and known classes.
    """
    path = Path(path)
    container = detect_container(path)
    if container == "safetensors":
        return _load_safetensors(path)
    if path.suffix.lower() == ".safetensors":
        raise BadInput(
            f"{path}: its name says safetensors, but it is a pickle as torch.save writes it. "
            "Rename it to .pt if that is what you expect."
        )
    if container == "zip":
        check_archive(path)
    else:
        with path.open("rb") as file:
            check_pickle(path, file.read(MAX_PICKLE_BYTES))
    found = _load_pickle(path, container)
    _check_tensors(path, found.content)
    return found


def _load_safetensors(path: Path) -> WeightFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return WeightFile(path, "safetensors", tensors, (), file.metadata() or {})
    except (SafetensorError, ValueError, OSError, RuntimeError, TypeError, LookupError) as error:
        raise BadInput(
            f"{path}: not a whole safetensors file ({_summarise_error(error)}). Copy or download it"
            " again."
        ) from error


_LOCK = threading.Lock()  # PyTorch keeps the list of what is safe for the whole process.


def _load_pickle(path: Path, container: str) -> WeightFile:
    import torch

    try:
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = _find_foreign_classes(path) if container == "zip" else []
            with torch.serialization.safe_globals([_make_stub(name) for name in names]):
                content = torch.load(
                    path, map_location="cpu", weights_only=True, mmap=container == "zip"
                )
    except BadInput:
        raise
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
        ImportError,
        MemoryError,
    ) as error:
        raise BadInput(
            f"{path}: cannot be read as weights ({_summarise_error(error)}). Either it is damaged,"
            " or it holds more than tensors, which could run code and is refused; save"
            " model.state_dict() instead."
        ) from error
    return WeightFile(path, container, content, tuple(names), {})


def _find_foreign_classes(path: Path) -> list[str]:
    """Return names the file asks for that PyTorch does not know; BadInput for a strange one."""
    import torch

    names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    strange = [
        name
        for name in names
        if not any(
            name == known or (known.endswith(".") and name.startswith(known))
            for known in HARMLESS_GLOBALS
        )
    ]
    if strange:
        shown = ", ".join(name[:60] for name in strange[:3]) + (", ..." if strange[3:] else "")
        raise BadInput(
            f"{path}: asks for {shown}, which memscan neither knows nor runs: a weight file that "
            "needs code is refused. Save model.state_dict() instead."
        )
    return names


def _make_stub(name: str) -> Any:
    if name in ("collections.defaultdict", "collections.deque"):
        return (_make_plain_dict if name.endswith("dict") else _make_plain_list, name)
    return (type("Opaque", (OpaqueObject,), {"what": name}), name)


def _make_plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _make_plain_list(*_: Any) -> list[Any]:
    return []


def _summarise_error(error: BaseException) -> str:
    """Return the cause in one line, without PyTorch's advice to load the file unsafely."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    text = text.partition(" was not an allowed global")[0]
    if not text or text.startswith("Weights only load failed") or "add_safe_globals" in text:
        return type(error).__name__
    return text.splitlines()[0][:160]


def iter_tensors(content: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors in nested dictionaries and lists, with dotted names."""
    import torch

    if isinstance(content, torch.Tensor):
        yield prefix, content
    elif depth < 12 and isinstance(content, dict):
        for key, value in content.items():
            yield from iter_tensors(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif depth < 12 and isinstance(content, list | tuple):
        for key, value in enumerate(content):
            yield from iter_tensors(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)


def _check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors that are more than their bytes: one byte can be declared a terabyte."""
    import torch

    declared = 0
    for name, tensor in iter_tensors(content):
        plain = (
            tensor.layout == torch.strided
            and not tensor.is_quantized
            and tensor.device.type == "cpu"
            and not tensor.is_nested
        )
        if not plain:
            raise BadInput(
                f"{path}: tensor '{name[:80]}' is not a plain array (sparse, quantised or without "
                "data). Save the weights of the float model."
            )
        declared += tensor.numel() * tensor.element_size()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise BadInput(
                f"{path}: tensor '{name[:80]}' claims {tensor.numel():,} numbers, but the file "
                f"holds only {tensor.untyped_storage().nbytes():,} bytes for it; refused."
            )
    # Weights may share storage (tied layers, averaged copies), but not many times over.
    if declared > 4 * path.stat().st_size + MAX_PICKLE_BYTES:
        raise BadInput(
            f"{path}: claims {declared:,} bytes of tensors, but has {path.stat().st_size:,}; "
            "refused."
        )


@contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged or vanished file does while tensors are touched into BadInput."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        raise BadInput(f"{path}: cannot be read to its end ({_summarise_error(error)}).") from error
