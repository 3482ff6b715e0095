"""All that a front end may know of a blind study: `BlindCase` objects, and arrays by key.

No name, path, score or order of the study reaches it, so none can show in a title, tooltip, status
bar or list of layers. What the cases are is in `blind`.
"""

from __future__ import annotations

from dataclasses import dataclass

COPY_QUESTION = "Is A a copy of B?"
CHOICE_QUESTION = "Which one is the real one?"
SIDES = ("A", "B")


@dataclass(frozen=True)
class BlindPane:
    """One volume on the screen of a blind study.

    Attributes
    ----------
    title : str
        ``A`` or ``B``.
    key : str
        What its array is loaded by; drawn at random, says nothing and comes only once.
    """

    title: str
    key: str


@dataclass(frozen=True)
class BlindCase:
    """All that a front end may know of a case.

    Attributes
    ----------
    number : int
        From 1, in the order of reading.
    title : str
        ``Case 1``.
    question : str
        What is asked.
    answers : tuple of str
        What can be said.
    panes : tuple of BlindPane
        A and B.
    transform : tuple of float or None
        The pose (4, 4), row after row, from points of A to points of B, in mm about their centres;
        None where none was found.
    """

    number: int
    title: str
    question: str
    answers: tuple[str, ...]
    panes: tuple[BlindPane, ...]
    transform: tuple[float, ...] | None = None
