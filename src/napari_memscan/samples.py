"""The table of a study's synthetic volumes: ``synthetic/samples.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import count, islice
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.files import append_text, write_text

TAIL_BYTES = 65_536
"""Far more than a line of the table has."""


@dataclass(frozen=True)
class SampleRow:
    """One synthetic volume of a study: a row of ``synthetic/samples.csv``.

    Attributes
    ----------
    sample : str
        ``s000000``, in the order they were made; for a volume made elsewhere its own short name,
        see `volumes.names.name_volumes`.
    path : str
        File; relative to ``synthetic/`` where it lies in the study or beside it.
    seed : str
        Of its noise; empty for a volume made elsewhere.
    recipe_hash, checkpoint_hash, sampler, steps : str
        What made it; empty for a volume made elsewhere.
    parent : str
        The sample it replaces; empty for most.
    settings : str
        Of `generators.sample.SamplingSettings`; empty for a volume made elsewhere.
    condition : str
        What a conditional model was told of it; empty for none.
    """

    sample: str
    path: str
    seed: str = ""
    recipe_hash: str = ""
    checkpoint_hash: str = ""
    sampler: str = ""
    steps: str = ""
    parent: str = ""
    settings: str = ""
    condition: str = ""


def find_free_names(rows: Iterable[SampleRow], n: int) -> list[str]:
    """Return the `n` smallest names that no row has, in order.

    A run of several processes that was killed leaves gaps; they are filled first, so that it goes
    on with the names it would have given.
    """
    taken = {row.sample for row in rows}
    return list(islice((s for s in map("s{:06d}".format, count()) if s not in taken), n))


def read_samples(path: Path) -> list[SampleRow]:
    """Return the rows of a table, in order; none where there is no file.

    A last line that a power cut left unfinished is passed over: nobody was told of that row.

    Raises
    ------
    BadInput
        The file is damaged.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
        names = lines[0]
        if lines[1:] and len(lines[-1]) < len(names) and not text.endswith("\n"):
            lines.pop()
        if len(set(names)) < len(names):
            raise ValueError("a column is there twice")
        return [SampleRow(**dict(zip(names, line, strict=True))) for line in lines[1:]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, IndexError, OSError, csv.Error) as error:
        raise BadInput(
            f"{path}: the table of samples cannot be read ({error}). Restore it, or delete the "
            "folder 'synthetic' and generate again: the seeds give the same volumes."
        ) from error


def add_sample_rows(path: Path, rows: Sequence[SampleRow]) -> None:
    """Put rows into a table; several processes may do so at the same time.

    Volumes made elsewhere stand first, in the order they were registered, then those drawn here.
    Rows that come after all others are appended with one write: the time that it takes does not
    grow with the table, and a process that is killed leaves all of them or none.
    """
    from filelock import FileLock

    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted(rows, key=_order)
    with FileLock(path.with_name(f".{path.name}.lock")):
        names = _read_columns_for_appending(path, rows)
        if names:
            append_text(path, _format_rows(names, rows), durable=True)
        else:
            write_samples(path, sorted([*read_samples(path), *rows], key=_order))


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """Write a table, whole or not at all."""
    names = [field.name for field in fields(SampleRow)]
    if not any(row.condition for row in rows):
        names.remove("condition")
    write_text(path, ",".join(names) + "\n" + _format_rows(names, rows))


def _order(row: SampleRow) -> tuple[int, str]:
    return (len(row.sample), row.sample) if row.seed else (0, "")


def _format_rows(names: Sequence[str], rows: Sequence[SampleRow]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return stream.getvalue()


def _read_columns_for_appending(path: Path, rows: Sequence[SampleRow]) -> list[str]:
    """Return the columns of a table whose last row comes before `rows`; none where it does not."""
    try:
        with path.open("rb") as file:
            names = file.readline().decode().rstrip("\n").split(",")
            file.seek(max(file.tell(), path.stat().st_size - TAIL_BYTES))
            body, _, unfinished = file.read().decode(errors="replace").rpartition("\n")
    except (OSError, ValueError):
        return []
    needed = {field.name for field in fields(SampleRow)}
    if not any(row.condition for row in rows):
        needed.discard("condition")
    # Only a name that holds a line break leaves half a line here, and that has other columns.
    last = next(csv.reader([body.rpartition("\n")[2]]), [])
    if unfinished or len(last) != len(names) or not needed <= set(names):
        return []
    known = dict(zip(names, last, strict=True))
    before = SampleRow(known["sample"], known["path"], known["seed"])
    return names if _order(before) <= _order(rows[0]) else []
