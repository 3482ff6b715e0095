"""Is this zip archive one that PyTorch wrote, and nothing else? Asked before anything is read."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from napari_memscan.checkpoints.pickle_scan import MAX_PICKLE_BYTES, check_pickle
from napari_memscan.errors import BadInput, Hint, HintKind

MAX_ENTRIES = 100_000


def check_archive(path: Path) -> None:
    """Refuse an archive that is not exactly what ``torch.save`` writes.

    PyTorch stores tensors uncompressed, below one folder, one after another. A bomb, a path that
    leaves the archive, or a program (TorchScript) looks different, and is refused by that.

    Raises
    ------
    BadInput
        Says what was found.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise BadInput(
            f"{path}: a damaged or incomplete archive ({error}). Copy or download it again."
        ) from error
    if len(entries) > MAX_ENTRIES:
        raise BadInput(f"{path}: an archive of {len(entries)} entries is no weight file.")
    for entry in entries:
        _check_name(path, entry)
    _check_layout(path, entries)
    names = [PurePosixPath(entry.filename) for entry in entries]
    roots = {name.parts[0] for name in names}
    inside = {str(PurePosixPath(*name.parts[1:])) for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise BadInput(
            f"{path}: TorchScript, which is a program and not only weights; running it is refused. "
            "Save model.state_dict() instead.",
            Hint(HintKind.TRUST),
        )
    if "archive_format" in inside or any(name.startswith("models/") for name in inside):
        raise BadInput(
            f"{path}: an exported program (torch.export), not only weights; running it is "
            "refused. Save model.state_dict() instead."
        )
    if "data.pkl" not in inside or len(roots) != 1:
        raise BadInput(
            f"{path}: a zip archive, but not one of PyTorch weights: there is no data.pkl in its "
            "one folder. If weights are inside, unpack it and choose the file."
        )
    root = roots.pop()
    sizes = {entry.filename: entry.file_size for entry in entries}
    records = {n.removeprefix(f"{root}/data/"): size for n, size in sizes.items()}
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f"{root}/data.pkl")
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError) as error:
        raise BadInput(
            f"{path}: its list of tensors is damaged ({error}). Copy or download it again."
        ) from error
    check_pickle(path, data, records)


def _check_name(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    shown = repr(name[:80])
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in name:
        raise BadInput(f"{path}: its entry {shown} points out of the archive; refused.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadInput(f"{path}: its entry {shown} is a link to another file; refused.")
    if entry.flag_bits & 1:
        raise BadInput(f"{path}: is encrypted; weights are not. Save model.state_dict() anew.")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise BadInput(
            f"{path}: its entry {shown} is compressed (to {entry.file_size:,} bytes), which "
            "torch.save never does. If weights are inside, unpack the archive and choose the file."
        )
    if parts[-1] == "data.pkl" and entry.file_size > MAX_PICKLE_BYTES:
        raise BadInput(
            f"{path}: its list of tensors is {entry.file_size:,} bytes; weights need at most "
            f"{MAX_PICKLE_BYTES:,}. Save model.state_dict() alone."
        )


def check_checksums(path: Path) -> None:
    """Compare an archive's data with its checksums; a copy that went wrong is found here.

    Raises
    ------
    BadInput
        Names the first entry that differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: damaged ({error}). Copy or download it again.") from error
    if damaged is not None:
        raise BadInput(f"{path}: its entry {damaged[:80]!r} is damaged. Copy or download it again.")


def _check_layout(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Every entry has bytes of its own: overlapping ones are how small archives unpack large."""
    end = 0
    names = set()
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < end or entry.filename in names:
            raise BadInput(f"{path}: its entries overlap; refused as a possible zip bomb.")
        names.add(entry.filename)
        if entry.file_size != entry.compress_size:
            raise BadInput(f"{path}: its entries have contradicting sizes; refused.")
        end = entry.header_offset + 30 + len(entry.orig_filename) + entry.compress_size
    if end > path.stat().st_size:
        raise BadInput(f"{path}: incomplete: entries reach beyond its end. Copy it again.")
