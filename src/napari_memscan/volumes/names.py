"""Names of volumes: short, and the same wherever their files lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from napari_memscan.files import make_absolute


def name_volumes(paths: Sequence[str | Path], taken: Iterable[str] = ()) -> list[str]:
    """Return a name for each volume: the shortest end of its path that tells it from all others.

    Parameters
    ----------
    paths : sequence of path
        Of files, or of folders of DICOM series. A link is named as it is, not as what it leads to.
    taken : iterable of str
        Names that others have already.

    Returns
    -------
    list of str
        Such as ``v07.nii.gz``, or ``patient_07/ct.nii.gz`` where there are several ``ct.nii.gz``.
        A path that is there twice, or whose every end is taken, gets a number.

    Examples
    --------
    >>> name_volumes(["/data/a/ct.nii.gz", "/data/b/ct.nii.gz", "/data/b/mr.nii.gz"])
    ['a/ct.nii.gz', 'b/ct.nii.gz', 'mr.nii.gz']
    """
    parts = [_split_path(path) for path in paths]
    used, names = set(taken), [""] * len(parts)
    # Nor is anything called by the end of a name that another has: nobody would tell them apart.
    used |= {name[i + 1 :] for name in used for i, letter in enumerate(name) if letter == "/"}
    left, depth = list(range(len(parts))), 1
    while left:
        ends = Counter("/".join(part[-depth:]) for part in parts if len(part) >= depth)
        for i in left:
            end = "/".join(parts[i][-depth:])
            if len(parts[i]) >= depth and ends[end] == 1 and end not in used:
                names[i] = end
            elif len(parts[i]) <= depth:
                tries = (f"{end} ({n})" for n in count(2))
                names[i] = end if end not in used else next(t for t in tries if t not in used)
                used.add(names[i])
        left, depth = [i for i in left if not names[i]], depth + 1
    return names


def _split_path(path: str | Path) -> tuple[str, ...]:
    """Return the parts of a path without its root."""
    path = make_absolute(path)
    return path.relative_to(path.anchor).parts or (path.name,)
