"""A child process: what it is given, what it says beside the wire, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.5
"""How often a silent child is looked at."""


def make_environment() -> dict[str, str]:
    """Return the child's: paths hold from its own folder, and no caches appear beside sources."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    if os.environ.get("PYTHONPATH"):
        parts = os.environ["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in parts)
    return environment


def call_with_timeout(
    seconds: float,
    work: Callable[[], T],
    threads: list[threading.Thread],
    process: subprocess.Popen[bytes],
) -> T:
    """Return what `work` returns, which waits for a process. It may go on unheard.

    Parameters
    ----------
    seconds : float
        How long to wait.
    work : callable
        Run in a thread of its own.
    threads : list of Thread
        Holds that thread afterwards.
    process : Popen
        What `work` waits for.

    Raises
    ------
    TimeoutError
        It takes longer.
    EOFError
        The process has ended, though something it started still holds its side open.
    """
    done: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    threads[:] = [thread]
    thread.start()
    limit = monotonic() + seconds
    while thread.is_alive() and monotonic() < limit:
        thread.join(min(POLL_SECONDS, max(limit - monotonic(), 0)))
        if thread.is_alive() and process.poll() is not None:
            thread.join(POLL_SECONDS)
            break
    if errors:
        raise errors[0]
    if done:
        return done[0]
    raise TimeoutError if process.poll() is None else EOFError


def collect_output(stream: IO[bytes], said: deque[str]) -> None:
    """Keep the last lines of what the child prints; a line without end is cut."""
    with suppress(OSError, ValueError), stream:
        while line := stream.readline(4096):
            said.append(line.decode("utf-8", "replace").rstrip())


def end_process(
    process: subprocess.Popen[bytes],
    folder: tempfile.TemporaryDirectory[str],
    threads: list[threading.Thread],
) -> None:
    """Kill the child and its group, and leave neither zombie nor folder."""
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            # Also where it has ended: what it started may go on.
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for thread in threads:
        thread.join(2)
    # A pipe that a daemon of the child's still holds would block whoever closes it here.
    if not any(thread.is_alive() for thread in threads):
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
    folder.cleanup()
