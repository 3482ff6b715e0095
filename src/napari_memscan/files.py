"""Files that are whole or absent: written to a temporary name, then renamed; and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from napari_memscan.errors import BadInput, JobFailed

Parsed = TypeVar("Parsed")


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well.

    A block that raises, or a process that is killed, leaves whatever stood at `path` untouched.

    Parameters
    ----------
    path : path
        The file to write. Its folder is made if missing. The temporary name keeps all suffixes,
        since writers choose the format by them.

    Raises
    ------
    JobFailed
        The disk is full, or the folder cannot be written; names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid4().hex[:8]}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:  # Windows flushes only what may be written.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _explain_os_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _explain_os_error(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return JobFailed(
            f"{path}: the disk is full. Free some space and start again; "
            "what was finished is kept and the job goes on from there."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return JobFailed(
            f"{path}: cannot be written ({error.strerror}). "
            "Choose a folder you may write to, or change its permissions."
        )
    return error


@contextmanager
def build_folder(place: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `place`; it becomes `place` when the block ends well.

    Whatever stood there is untouched until then, and exchanged in one step where the system can.

    Raises
    ------
    JobFailed
        The folder beside it cannot be made.
    """
    place = Path(place)
    temporary = place.with_name(f".{uuid4().hex[:8]}.{place.name}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise JobFailed(
            f"{place}: cannot be written ({error.strerror}). Choose a folder you may write to."
        ) from error
    try:
        yield temporary
        put_folder(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_folder(new: Path, place: Path) -> None:
    """Let a folder take another's place; a process that is killed leaves the one or the other."""
    if not place.exists():
        new.rename(place)
    elif not _exchange_paths(new, place):
        old = place.with_name(f".{uuid4().hex[:8]}.{place.name}.old")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync_folder(place.parent)
    shutil.rmtree(new, ignore_errors=True)  # By now it is what stood there.


def _exchange_paths(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or its disk cannot."""
    import ctypes

    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None)
    first, second = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):  # Linux
        here, exchange = -100, 2
        return bool(libc.renameat2(here, first, here, second, exchange) == 0)
    if hasattr(libc, "renamex_np"):  # macOS
        swap = 2
        return bool(libc.renamex_np(first, second, swap) == 0)
    return False


def _sync_folder(folder: Path) -> None:
    """Make a renamed folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_absolute(path: str | Path) -> Path:
    """Return the absolute path without ``..``; links keep the names that they were given.

    What a link leads to may have no name that says what it is: caches of hubs and data managers
    are folders of links to files that are named by their hash.
    """
    path = Path(path).absolute()
    if ".." not in path.parts:
        return path
    flat = Path(os.path.normpath(path))
    # A '..' behind a link to a folder leads elsewhere than its text says.
    if os.path.realpath(flat) == os.path.realpath(path):
        return flat
    if path.name == "..":
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def make_portable(path: str | Path, folder: Path, start: Path | None = None) -> str:
    """Return a path as it is kept in a study, so that the study can be moved with what it uses.

    Parameters
    ----------
    path : path
        Absolute; anything else is returned as it is.
    folder : Path
        Of the study, resolved. What lies below it, or in the folder it lies in, is relative.
    start : Path, optional
        What it is relative to; by default `folder`.
    """
    path = Path(path)
    around = folder.parent if folder.parent.parent != folder.parent else folder
    for place in (
        (path, Path(os.path.realpath(path.parent)) / path.name) if path.is_absolute() else ()
    ):
        if place.is_relative_to(around):
            return Path(os.path.relpath(place, start or folder)).as_posix()
    return str(path)


def read_small_file(path: str | Path, most: int = 10_000_000) -> bytes:
    """Return the bytes of a file that people write by hand, never waiting for a device or pipe.

    Raises
    ------
    OSError
        Missing, not a regular file, or cannot be read.
    ValueError
        Larger than `most` bytes, or not a path.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most / 1e6:g} MB")
    return content


def parse_json(path: str | Path, parse: Callable[[Any], Parsed], advice: str) -> Parsed:
    """Return what `parse` makes of the value in a JSON file.

    Parameters
    ----------
    path : path
    parse : callable
        May trip over any value that is not as it expects.
    advice : str
        What to do about a file that cannot be used: a sentence.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    BadInput
        It cannot be read, is no JSON, or is not what `parse` expects.
    """
    try:
        return parse(json.loads(read_small_file(path, 10**9)))
    except (BadInput, FileNotFoundError):
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise BadInput(f"{path}: cannot be read ({reason}). {advice}") from error


def append_text(path: str | Path, text: str, durable: bool = False) -> None:
    """Add text to a file with one write: a process that is killed leaves all of it or none.

    With `durable` it is on the disk when this returns.

    Raises
    ------
    JobFailed
        The disk is full, or the file cannot be written; names it. Nothing is added.
    """
    path, data = Path(path), text.encode()
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            if file.write(data) < len(data):
                file.truncate(size)
                raise OSError(errno.ENOSPC, "no room for all of it")
            if durable:
                os.fsync(file.fileno())
    except OSError as error:
        raise _explain_os_error(error, path) from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def hash_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a JSON-serialisable value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
