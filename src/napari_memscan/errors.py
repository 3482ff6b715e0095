"""What can go wrong in words a user can act on.

Every message says which file or setting, what was expected, and what to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_LENGTH, MAX_WORD_LENGTH = 800, 250


class MemscanError(Exception):
    """Anything a person can mend; front ends show its text and never a traceback.

    Names from a file may be part of the text, so it is made printable and kept short: a file must
    not be able to move the cursor, fake a message or fill the screen.
    """

    def __init__(self, text: str) -> None:
        super().__init__(make_printable(text))


def make_printable(text: str, longest: int = MAX_LENGTH) -> str:
    """Return a text in one line, without control characters and of bounded length."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 4 * longest])
    text = re.sub(rf"\S{{{MAX_WORD_LENGTH},}}", lambda m: m.group()[:100] + " ... ", text)
    return text if len(text) <= longest else text[: longest - 30] + " ... " + text[-25:]


class BadInput(MemscanError, ValueError):
    """The input is not what it should be. The command line ends with exit code 2."""


class JobFailed(MemscanError, RuntimeError):
    """The input was fine and the job still failed. The command line ends with exit code 1."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: Python's, NumPy's, or PyTorch's on a processor or a GPU."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "allocate memory" in str(error)


def describe_validation_error(error: ValidationError, whole: str = "settings") -> str:
    """Return what pydantic found as one line: at most six fields, or the `whole`, and reasons."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg']}" for e in error.errors()[:6]
    )
