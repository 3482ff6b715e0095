"""Messages, progress and exit codes."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from napari_memscan.cli.hints import describe_error
from napari_memscan.errors import BadInput, MemscanError

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_memscan.jobs.news import News

QUIET_SECONDS = 15.0
"""Without a terminal, a line of progress at most this often."""


def say(text: str = "") -> None:
    """Print a result to standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a message to standard error."""
    typer.echo(text, err=True)


class CommandGroup(TyperGroup):
    """A group of commands that turns what can go wrong into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; 1 for a job that failed, 2 for bad input, 130 for Ctrl+C."""
        try:
            return super().invoke(ctx)
        except MemscanError as error:
            note(f"memscan: {describe_error(error)}")
            raise typer.Exit(2 if isinstance(error, BadInput) else 1) from error
        except KeyboardInterrupt as error:
            note(
                "\nmemscan: stopped. What was finished is kept; "
                "the same command goes on where this one stopped."
            )
            raise typer.Exit(130) from error
        except OSError as error:
            # A file or disk that fails where no better message is known; a pipe closed by its
            # reader, as in `memscan scan --json | head`, is typer's to handle.
            if error.errno == errno.EPIPE:
                raise
            note(f"memscan: {error}. Check this file, its folder and the space on its disk.")
            raise typer.Exit(1) from error


def run_with_progress(job: Generator[Any, None, Any], what: str, total: int | None = None) -> Any:
    """Run a job to its end, show its progress on standard error, return what it returns.

    Parameters
    ----------
    job : generator
        Of `napari_memscan.jobs`.
    what : str
        For people, such as ``generate``.
    total : int, optional
        Volumes asked for, for jobs that yield single denoising steps.
    """
    from napari_memscan.generators.sample import DenoisingStep

    with _show_progress(what) as show:
        try:
            while True:
                news = next(job)
                if not isinstance(news, DenoisingStep) and news.note:
                    note(f"{what}: {news.note}")
                show(*_measure_progress(news, total))
        except StopIteration as end:
            return end.value
        finally:
            # Now, not when the memory is cleaned up: the job may hold the study's lock.
            job.close()


@contextmanager
def detect_first_process() -> Iterator[bool]:
    """Say whether this is the first process of a job; let a failure be told once, by its own."""
    from napari_memscan.jobs import distributed as processes

    rank, _ = processes.get_rank_and_size()
    try:
        yield rank == 0
    except processes.PeerFailed as error:
        if rank == 0:
            raise
        raise typer.Exit(1) from error


def _measure_progress(news: News, total: int | None) -> tuple[float, float, str, str]:
    """Return units done, units in all, words, and words that stay until there are others."""
    from napari_memscan.generators.sample import DenoisingStep
    from napari_memscan.progress import Progress

    if isinstance(news, Progress):
        return news.done, news.total, news.what, ""
    if isinstance(news, DenoisingStep):
        share = news.sample + news.step / news.total
        text = f"volume {news.sample + 1}, step {news.step} of {news.total}"
        return share, max(total or 0, news.sample + 1), text, ""
    measured = news.validation_loss
    kept = "" if measured is None else f", validation {measured:.4f}"
    return news.step, news.total, f"loss {news.loss:.4f}", kept


@contextmanager
def _show_progress(what: str) -> Iterator[Any]:
    if sys.stderr.isatty():
        with _show_bar(what) as show:
            yield show
    else:
        yield _ProgressLines(what)


@contextmanager
def _show_bar(what: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, text="")
        last = ""

        def show(done: float, total: float, text: str, kept: str) -> None:
            nonlocal last
            # A validation loss is measured now and then; it stays visible until the next.
            last = kept or last
            progress.update(task, completed=done, total=total, text=text + last)

        yield show


class _ProgressLines:
    """Prints the last line of progress, and others at most every `QUIET_SECONDS`."""

    def __init__(self, what: str) -> None:
        self.what, self.started, self.said = what, time.monotonic(), time.monotonic()

    def __call__(self, done: float, total: float, text: str, kept: str) -> None:
        now = time.monotonic()
        if done < total and now - self.said < QUIET_SECONDS:
            return
        self.said = now
        note(f"{self.what}: {done:.0f} of {total:.0f}, {now - self.started:.0f} s, {text}{kept}")
