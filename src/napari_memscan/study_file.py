"""The file ``study.toml`` of a study, and the lock beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from napari_memscan.config import FORMAT_VERSION, ReleaseConfig, ReviewConfig, StudyConfig
from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed, describe_validation_error
from napari_memscan.files import make_portable, write_text

STUDY_FILE = "study.toml"
LOCK_FILE = ".memscan.lock"


def read_study_file(path: Path) -> StudyConfig:
    """Read a ``study.toml``.

    Raises
    ------
    BadInput
        It is missing, no TOML, of a newer format, or a setting does not do.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            f"{path.parent}: no {STUDY_FILE} there. A study's folder is expected.",
            Hint(HintKind.CREATE_STUDY),
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable TOML file ({error}). Mend that line.") from error
    if isinstance(value.get("format"), int) and value["format"] > FORMAT_VERSION:
        raise BadInput(
            f"{path}: made by a newer memscan (format {value['format']}, this one reads up to "
            f"{FORMAT_VERSION}). Update napari-memscan."
        )
    try:
        return StudyConfig.model_validate(value)
    except ValidationError as error:
        raise BadInput(f"{path}: {describe_validation_error(error)}. Mend {STUDY_FILE}.") from error


def write_study_file(folder: Path, config: StudyConfig) -> None:
    """Write what is set otherwise than by default; models below or beside the study relative."""
    import tomli_w

    value = config.model_dump(mode="json", exclude_none=True)
    for part, name, unused in (
        (value, "embedder_declared", {}),
        (value, "embedder_trust", False),
        (value, "review", ReviewConfig().model_dump(mode="json")),
        (value, "release", ReleaseConfig().model_dump(mode="json", exclude_none=True)),
        (value.get("generator", {}), "declared", {}),
        (value.get("generator", {}), "trust", False),
    ):
        if part.get(name) == unused:
            part.pop(name, None)
    value["embedder"] = make_portable(value["embedder"], folder)
    if "generator" in value:
        value["generator"]["path"] = make_portable(value["generator"]["path"], folder)
    write_text(folder / STUDY_FILE, tomli_w.dumps(value))


@contextmanager
def lock_study(folder: Path, what: str) -> Iterator[None]:
    """Hold a study for one job; JobFailed where another process or window does."""
    from filelock import FileLock, Timeout

    try:
        # Not thread-local: a job may be closed in another thread than it ran in.
        lock = FileLock(folder / LOCK_FILE, timeout=0, thread_local=False)
        lock.acquire()
    except Timeout as error:
        raise JobFailed(
            f"{folder}: another memscan is working on this study, so it cannot {what} "
            "now. Wait until it is done, or stop it. Reading and deciding go on meanwhile."
        ) from error
    except OSError as error:
        raise JobFailed(
            f"{folder}: cannot be written ({error.strerror}). "
            "Copy the study to a folder you may write to."
        ) from error
    try:
        yield
    finally:
        lock.release()
