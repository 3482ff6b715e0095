"""What `scan` is given (folders, tables, lists, arrays), as volumes that are read one by one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.typing import Split
from napari_memscan.volumes.cohort import CohortRow, name_rows
from napari_memscan.volumes.volume import Volume, compute_content_key

VolumesLike = str | Path | Sequence[str | Path] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class VolumeEntry:
    """A volume that a scan is given.

    Attributes
    ----------
    name : str
        What results call it.
    read : callable
        Returns the `Volume` as it is; picklable where processes search without a cache on disk.
    identify : callable
        Returns its `volumes.volume.compute_content_key`.
    subject : str
        Whose it is; '' where nobody said it.
    """

    name: str
    read: Callable[[], Volume]
    identify: Callable[[], str]
    subject: str = ""

    @cached_property
    def content(self) -> str:
        """What stands for the volume as it is read."""
        return self.identify()


class VolumeSource:
    """Volumes of one split by number: read when asked for, so memory does not grow with them.

    Parameters
    ----------
    volumes : path, list of paths, or array (N, X, Y, Z)
        A folder is searched for volumes; of a CSV table the rows of this split are taken.
    split : Split
        ``training``, ``validation`` or ``synthetic``.

    Attributes
    ----------
    names : list of str
        Paths, or for an array such as ``training[3]``; see `name_sources`.
    subjects : list of str
        Who each volume is of; '' where nobody said it.

    Raises
    ------
    BadInput
        Nothing there, an array of another shape, or a volume named twice.
    """

    def __init__(self, volumes: VolumesLike, split: Split) -> None:
        from napari_memscan.volumes.reader import list_volumes

        self.split = split
        self.array: NDArray[Any] | None = None
        self._digests: dict[int, str] = {}
        self.files: list[Path] = []
        self._rows: list[CohortRow] = []
        if isinstance(volumes, str | Path):
            if Path(volumes).suffix.lower() == ".csv":
                self._rows = _read_rows(Path(volumes), split)
                self.files = [Path(row.path) for row in self._rows]
            else:
                self.files = list_volumes(volumes)
        elif isinstance(volumes, np.ndarray):
            if volumes.ndim != 4:
                raise BadInput(
                    f"{split}: array of shape {volumes.shape}; (N, X, Y, Z) is expected."
                )
            self.array = volumes
        else:
            self.files = [Path(p) for p in volumes]
        n = len(self.files) if self.array is None else len(self.array)
        self.names = [str(p) for p in self.files] or [f"{split}[{i}]" for i in range(n)]
        self.subjects = [row.subject_id for row in self._rows] or [""] * n
        twice = [name for name, times in Counter(self.names).items() if times > 1]
        if twice:
            raise BadInput(f"{twice[0]}: named more than once in {split}. Name each volume once.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Volume]:
        return (self.read(i) for i in range(len(self)))

    def read(self, i: int) -> Volume:
        """Read one volume."""
        return self._reader(i)()

    def content_key(self, i: int) -> str:
        """Return what stands for one volume as it is read; see `compute_content_key`."""
        row = self._rows[i] if self._rows else None
        declared = (row.axes, row.spacing) if row is not None else ()
        return compute_content_key(self.digest(i), *declared)

    def entries(self) -> list[VolumeEntry]:
        """Return the volumes as a scan takes them."""
        return [
            VolumeEntry(name, self._reader(i), partial(self.content_key, i), subject)
            for i, (name, subject) in enumerate(zip(self.names, self.subjects, strict=True))
        ]

    def _reader(self, i: int) -> Callable[[], Volume]:
        """Return what reads one volume and can be sent to another process without the others."""
        from napari_memscan.volumes.reader import read_volume

        if self.array is not None:
            return partial(_wrap_array, self.array[i], Path(self.names[i]))
        return self._rows[i].read if self._rows else partial(read_volume, self.files[i])

    def digest(self, i: int) -> str:
        """Return the SHA-256 of one volume's file, files or array."""
        if i not in self._digests:
            self._digests[i] = self._hash(i)
        return self._digests[i]

    def _hash(self, i: int) -> str:
        from napari_memscan.volumes.cohort_rows import hash_content

        if self.array is not None:
            values = np.ascontiguousarray(self.array[i], np.float32)
            return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
        if not self.files[i].exists():
            raise BadInput(f"{self.files[i]} ({self.split}): missing. Restore it, or leave it out.")
        return hash_content(self.files[i])


def _wrap_array(data: NDArray[Any], name: Path) -> Volume:
    return Volume(np.asarray(data, np.float32), None, name)


def _read_rows(table: Path, split: Split) -> list[CohortRow]:
    from napari_memscan.volumes.importers import import_csv

    rows = import_csv(table).rows(split)
    if not rows:
        raise BadInput(f"{table}: no row has the split '{split}'. Name another table or a folder.")
    return rows


def name_sources(training: VolumeSource, validation: VolumeSource, synthetic: VolumeSource) -> None:
    """Name the files of a scan in place of their paths, as a study of the same files does."""
    of = {Split.TRAINING: training, Split.VALIDATION: validation, Split.SYNTHETIC: synthetic}
    rows = [CohortRow(str(f), split) for split, source in of.items() for f in source.files]
    names = iter([row.name for row in name_rows(rows)])
    for source in of.values():
        source.names = [next(names) for _ in source.files] or source.names


def refuse_overlap(training: VolumeSource, validation: VolumeSource) -> None:
    """Raise BadInput where a volume or a subject is in both; names it."""
    known = {training.digest(i): training.names[i] for i in range(len(training))}
    for i, name in enumerate(validation.names):
        same = known.get(validation.digest(i))
        if same is not None:
            raise BadInput(
                f"{name} (validation) and {same} (training) are the same "
                f"{'volume' if validation.array is not None else 'file'}. "
                "Validation must hold volumes that the model has not seen."
            )
    both = sorted(set(training.subjects) & set(validation.subjects) - {""})
    if both:
        raise BadInput(
            f"subject {both[0]} is in training and in validation. Put all volumes of a subject "
            "into one split; otherwise the threshold would hide copies."
        )
