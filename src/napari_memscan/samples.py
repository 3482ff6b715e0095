"""The table of a study's synthetic volumes: ``synthetic/samples.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import count, islice
from pathlib import Path

from napari_memscan.errors import BadInput
from napari_memscan.files import write_text


@dataclass(frozen=True)
class SampleRow:
    """One synthetic volume of a study: a row of ``synthetic/samples.csv``.

    Attributes
    ----------
    sample : str
        ``s000000``, in the order they were made.
    path : str
        File; relative to ``synthetic/`` for generated ones.
    seed : str
        Of its noise; empty for a volume made elsewhere.
    recipe_hash, checkpoint_hash, sampler, steps : str
        What made it; empty for a volume made elsewhere.
    parent : str
        The sample it replaces; empty for most.
    settings : str
        Of `generators.interface.Settings`; empty for a volume made elsewhere, and for those made
        before settings were written.
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

    Raises
    ------
    BadInput
        The file is damaged.
    """
    import pandas as pd

    if not path.exists():
        return []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        names = [str(name) for name in table.columns]
        return [
            SampleRow(**dict(zip(names, row, strict=True)))
            for row in table.to_numpy(dtype=object).tolist()
        ]
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(
            f"{path}: the table of samples cannot be read ({error}). Restore it, or delete the "
            "folder 'synthetic' and generate again: the seeds give the same volumes."
        ) from error


def add_sample_row(path: Path, row: SampleRow) -> None:
    """Put one row into a table, sorted by name; several processes may do so at the same time."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows = [*read_samples(path), row]
        write_samples(path, sorted(rows, key=lambda r: (len(r.sample), r.sample)))


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """Write a table, whole or not at all."""
    import pandas as pd

    names = [field.name for field in fields(SampleRow)]
    table = pd.DataFrame([astuple(row) for row in rows], columns=names)
    if not table["condition"].any():
        del table["condition"]
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
