"""What long work reports, and running it to its end."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """Part of a job is done.

    Attributes
    ----------
    done, total : int
        Units done and in all.
    what : str
        What the unit was, for people.
    note : str
        What people should know now, however quickly the job goes on.
    sample : str
        The sample that was made; empty where the unit was none.
    """

    done: int
    total: int
    what: str
    note: str = ""
    sample: str = ""


def run_job(job: Generator[Any, None, R]) -> R:
    """Run a job to its end and return what it returns."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            result: R = stop.value
            return result
