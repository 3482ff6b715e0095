"""Free text without what must not leave the house: names of files, patients and readers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

WITHHELD = "[withheld]"
# Not the end of another URL, and not a lone slash between words.
PATH_START = re.compile(
    r"(?<![\w:/\\])(?:file:/+|[A-Za-z]:[\\/]|\\\\|/|~[\\/])(?=[^\s/\\])", re.IGNORECASE
)
"""Where an absolute path begins."""
PATH_STOP = re.compile(r"\n|:(?=\s|$)|[<>]|[\"'](?!\w)|\s(?=\S+://)|\s(?=[/~]\S|[A-Za-z]:[\\/])")
"""What no path goes beyond; a blank, a comma or an apostrophe may be within a folder's name."""
FILE_ENDING = re.compile(
    r"\.(?:nii(?:\.gz)?|npy|npz|dcm|ima|csv|tsv|json|toml|ya?ml|pth?|ckpt|safetensors|ts|zip|tar"
    r"|gz|png|txt|log)(?=[\s.,;)]|$)",
    re.IGNORECASE,
)
# What an importer passed over is in no cohort, and its name may be a patient's all the same. Words
# before it belong to it where they look like names or folders.
FILE_PATTERN = re.compile(
    r"(?:(?<!\S)(?:[^\W_a-z]|[^\s'\",;:()<>]+[/\\])[^\s'\",;:()<>]*[ ])*"
    r"[^\s'\",;()<>]+\.(?i:nii(?:\.gz)?|npy|npz|dcm|csv|tsv)\b"
)
WORD_AFTER_PATH = re.compile(r"[,;()]|\.$|\s(?:or|is|are|was|were|has|have|holds|does|cannot)\s")
"""What ends the last name of a path, which may hold blanks: no name of a person holds these."""
MIN_DIGITS = 4
"""Shorter numbers are not searched for unless they begin with 0: in "12 volumes" nobody can tell
them from a subject."""


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
            r"(?<![^\W_])(?:" + "|".join(map(_make_pattern, every)) + r")(?![^\W_])", re.IGNORECASE
        )

    def text(self, text: str) -> str:
        """Return a text without them, and without any absolute path or volume file.

        Where a path ends is not always told by a text. What may still belong to it goes with it:
        an advice that is lost can be read at home, a name that is left cannot be taken back.
        """
        if self.words:
            text = self._any.sub(WITHHELD, text)
        return FILE_PATTERN.sub(WITHHELD, _withhold_paths(text))

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
        return len(word) >= MIN_DIGITS or (len(word) > 1 and word.startswith("0"))
    return len(word) >= 2


def _make_pattern(word: str) -> str:
    # Decimals of a number, such as 017 in 0.017, are no subject.
    return rf"(?<!\d\.){word}(?!\.\d)" if word.isdigit() else re.escape(word)


def _withhold_paths(text: str) -> str:
    parts, done = [], 0
    while start := PATH_START.search(text, done):
        end = _find_path_end(text, start.start(), start.end())
        parts += [text[done : start.start()], WITHHELD]
        done = end
    return "".join([*parts, text[done:]])


def _find_path_end(text: str, start: int, after: int) -> int:
    """Return where a path that begins at `start` ends; `after` is behind its first separator."""
    quote = text[start - 1 : start]
    if quote in ("'", '"'):
        closing = re.compile(re.escape(quote) + r"(?!\w)").search(text, after)
        if closing:
            return closing.start()
    stop = PATH_STOP.search(text, after)
    run = text[: stop.start() if stop else len(text)].rstrip()
    # Folders go up to the last separator; a comma or a bracket ends only what comes after it.
    last = max(run.rfind("/"), run.rfind("\\"), after - 1) + 1
    ending = FILE_ENDING.search(run, last)
    if ending:
        return ending.end()
    soft = WORD_AFTER_PATH.search(run + " ", last)
    return soft.start() if soft else len(run)
