"""The table of a study's synthetic volumes: ``synthetic/samples.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
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
    """

    sample: str
    path: str
    seed: str = ""
    recipe_hash: str = ""
    checkpoint_hash: str = ""
    sampler: str = ""
    steps: str = ""
    parent: str = ""


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
        return [
            SampleRow(**{str(name): value for name, value in row.items()})
            for row in table.to_dict("records")
        ]
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(
            f"{path}: the table of samples cannot be read ({error}). Restore it, or delete the "
            "folder 'synthetic' and generate again: the seeds give the same volumes."
        ) from error


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """Write a table, whole or not at all."""
    import pandas as pd

    names = [field.name for field in fields(SampleRow)]
    table = pd.DataFrame([astuple(row) for row in rows], columns=names)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
