"""What can go wrong in words a user can act on.

Every message says which file or setting and what was expected; its hint says what to do, and each
front end puts that into its own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_LENGTH, MAX_WORD_LENGTH = 800, 250


class HintKind(StrEnum):
    """What a person can do about an error."""

    STATE = "state"
    """Say what a model's files do not say; about: NAME=VALUE."""
    TRUST = "trust"
    """Let the model's own code run."""
    SAVE_MEMORY = "save memory"
    """Work with less memory."""
    UNGUIDED = "unguided"
    """Draw replacements without guidance."""
    CREATE_STUDY = "create a study"
    """Make a study first."""
    SCAN = "scan"
    """Scan, once more or at last; about: the study's folder."""
    SELFTEST = "self-test"
    """Measure the detector; about: the study's folder."""
    READ = "read"
    """Look at the volumes; about: the study's folder."""
    AUDIT = "audit"
    """See what is wrong with the chain of decisions; about: the study's folder."""
    LICENSE = "license"
    """State under what the volumes are released."""
    TRUTH = "truth"
    """Compare readers with another truth."""
    RAISE_LIMIT = "raise the limit"
    """Let a watched training go on with more copies."""


@dataclass(frozen=True)
class Hint:
    """What to do about an error, for front ends to say.

    Attributes
    ----------
    kind : HintKind
    about : str
        What `kind` asks for.
    """

    kind: HintKind
    about: str = ""


class MemscanError(Exception):
    """Anything a person can mend; front ends show its text and hint and never a traceback.

    Names from a file may be part of the text, so it is made printable and kept short: a file must
    not be able to move the cursor, fake a message or fill the screen.

    Parameters
    ----------
    text : str
        What is wrong, and where.
    hint : Hint, optional
        What to do; see `explain_error`.
    """

    def __init__(self, text: str, hint: Hint | None = None) -> None:
        super().__init__(make_printable(text))
        self.hint = hint


def explain_error(error: MemscanError, sayings: Mapping[HintKind, str]) -> str:
    """Return what is wrong and what to do, in the words of a front end.

    Parameters
    ----------
    error : MemscanError
    sayings : mapping of HintKind to str
        Sentences with ``{about}`` where it belongs.
    """
    if error.hint is None:
        return str(error)
    about = make_printable(error.hint.about)
    return f"{error} {sayings[error.hint.kind].format(about=about)}"


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
