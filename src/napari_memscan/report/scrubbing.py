"""Free text without what must not leave the house: names of files, patients and readers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

WITHHELD = "[withheld]"
# An absolute path; not the end of a URL, and not a lone slash between words.
PATH_PATTERN = re.compile(r"(?<![\w:/\\])(?:[A-Za-z]:\\|/|~/)[^\s'\",;()<>]+")
# What an importer passed over is in no cohort, and its name may be a patient's all the same.
FILE_PATTERN = re.compile(r"[^\s'\",;()<>]+\.(?:nii|nii\.gz|npy|npz|dcm|csv|tsv)\b", re.IGNORECASE)
MIN_DIGITS = 4
"""Shorter numbers are not searched for: in "12 volumes" nobody can tell them from a subject."""


class Scrubber:
    """Takes names out of texts that people or importers wrote.

    Parameters
    ----------
    names : iterable of str
        Subject ids, readers and the like.
    paths : iterable of str
        Of volumes: the path, its file's name, and that name without endings are taken out.
    """

    def __init__(self, names: Iterable[str] = (), paths: Iterable[str] = ()) -> None:
        words = {name.strip() for name in names}
        for path in paths:
            name = PurePath(path).name
            words |= {path, name, name.split(".")[0]}
        self.words = {word for word in words if _is_identifying(word)}
        # The longest first: a path goes before the name in it.
        every = sorted(self.words, key=lambda word: (-len(word), word))
        self._any = re.compile(
            r"(?<![^\W_])(?:" + "|".join(map(re.escape, every)) + r")(?![^\W_])", re.IGNORECASE
        )

    def text(self, text: str) -> str:
        """Return a text without them, and without any absolute path or volume file."""
        if self.words:
            text = self._any.sub(WITHHELD, text)
        return FILE_PATTERN.sub(WITHHELD, PATH_PATTERN.sub(WITHHELD, text))

    def value(self, value: Any) -> Any:
        """Return JSON-ready values with all texts in them scrubbed; names of fields stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.value(part) for part in value)
        return value


def _is_identifying(word: str) -> bool:
    if word.isdigit():
        return len(word) >= MIN_DIGITS
    return len(word) >= 2
