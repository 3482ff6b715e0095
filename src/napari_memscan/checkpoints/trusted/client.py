"""The parent's side: starts the child, asks it, and ends it whatever it does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.trusted import wire
from napari_memscan.checkpoints.trusted.child_process import (
    call_with_timeout,
    collect_output,
    end_process,
    make_environment,
)
from napari_memscan.errors import BadInput, JobFailed, MemscanError

LOAD_SECONDS = 900.0
"""Until a model must have been loaded; large files on slow disks take minutes."""

CALL_SECONDS = 3600.0
"""Until a model must have answered; decoding a large volume on a processor takes minutes."""

CLOSE_SECONDS = 5.0


class ChildProcess:
    """A process that runs foreign code and answers with arrays.

    The process keeps memscan alive when that code crashes or hangs, and keeps its memory clean.
    It is no sandbox: the code has all the rights of the user.

    Parameters
    ----------
    name : str
        What the user named; begins every message.
    kind : {"plugin", "torchscript", "bundle"}
        See `worker`.
    target : str
        File or module.
    options : sequence of str
        Further arguments of `worker`.
    load_seconds, call_seconds : float
        After this time without an answer the child is ended.

    Attributes
    ----------
    description : dict
        What the child says of the model; to be checked like anything from outside.
    pid : int
        Of the process.

    Raises
    ------
    BadInput
        The code cannot be loaded: it raises, ends, hangs, or answers with something else.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        target: str,
        options: Sequence[str] = (),
        *,
        load_seconds: float = LOAD_SECONDS,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self.name = name
        self.call_seconds = call_seconds
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="memscan-", ignore_cleanup_errors=True)
        command = [sys.executable, "-P", "-m", "napari_memscan.checkpoints.trusted.worker"]
        try:
            self._process = subprocess.Popen(
                [*command, kind, target, "--folder", str(Path.cwd()), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder.name,
                env=make_environment(),
                # A group of its own: Ctrl-C reaches the parent alone, and what the code starts
                # is ended with it.
                start_new_session=True,
            )
        except OSError as error:
            raise BadInput(f"{name}: no process could be started for it ({error}).") from error
        self.pid = self._process.pid
        self._said: deque[str] = deque(maxlen=20)
        threading.Thread(
            target=collect_output, args=(self._process.stderr, self._said), daemon=True
        ).start()
        self._threads: list[threading.Thread] = []
        self._end = weakref.finalize(self, end_process, self._process, self._folder, self._threads)
        answer, _ = self._ask({"do": "describe"}, {}, 0, load_seconds, BadInput)
        if not isinstance(answer, dict):
            raise self._failed(BadInput, "answered with something else than a description")
        self.description: dict[str, Any] = answer

    @property
    def running(self) -> bool:
        """Whether the process still answers."""
        if self._end.alive and self._process.poll() is None:
            return True
        self._end()  # At once: its number may soon be another process's.
        return False

    def call(
        self,
        operation: str,
        arrays: Mapping[str, NDArray[Any]],
        fits: Callable[[tuple[int, ...]], str],
        most: int,
    ) -> NDArray[np.float32]:
        """Ask the model, and check its answer.

        Parameters
        ----------
        operation : str
            ``denoise``, ``decode``, ``encode_mean`` or ``embed``.
        arrays : dict of str to array
            What it is given: float32 or int64.
        fits : callable
            Returns what shape is expected where it gets another one, else an empty text.
        most : int
            Bytes the answer may have.

        Returns
        -------
        array, float32
            Of a shape that fits, and finite.

        Raises
        ------
        JobFailed
            It raises, ends, hangs, or answers with something else; the process is ended, except
            where the code raised.
        """
        import torch

        # Rounding depends on the number of threads; it is what the caller computes with.
        message = {"do": operation, "threads": torch.get_num_threads()}
        _, results = self._ask(message, arrays, most, self.call_seconds, JobFailed)
        result = results.get("result")
        if result is None or result.dtype != np.float32:
            raise self._failed(JobFailed, f"answered '{operation}' without numbers")
        expected = fits(result.shape)
        if expected:
            raise self._failed(
                JobFailed,
                f"answered '{operation}' with an array of shape {result.shape}; {expected} is "
                "expected",
            )
        if not np.isfinite(result).all():
            raise JobFailed(
                f"{self.name}: '{operation}' gave NaN or infinity. Its weights may be damaged, or "
                "the scale factor wrong."
            )
        return result

    def close(self) -> None:
        """End the process: asked first, then killed with all it has started. May be repeated."""
        if self.running and self._lock.acquire(blocking=False):
            try:
                with suppress(MemscanError):
                    self._ask_locked({"do": "close"}, {}, 0, CLOSE_SECONDS, JobFailed)
            finally:
                self._lock.release()
        self._end()

    def _ask(self, *request: Any) -> tuple[Any, wire.Arrays]:
        with self._lock:
            return self._ask_locked(*request)

    def _ask_locked(
        self,
        message: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        most: int,
        seconds: float,
        kind: type[MemscanError],
    ) -> tuple[Any, wire.Arrays]:
        if not self.running:
            raise kind(f"{self.name}: its process is not running any more. Load the model again.")
        process = self._process

        def exchange() -> tuple[dict[str, Any], wire.Arrays]:
            assert process.stdin is not None
            assert process.stdout is not None
            wire.send(process.stdin, message, arrays)
            return wire.receive(process.stdout, most)

        try:
            answer, results = call_with_timeout(seconds, exchange, self._threads, process)
        except TimeoutError:
            raise self._failed(
                kind, f"did not answer within {seconds:g} seconds and was ended"
            ) from None
        except (EOFError, OSError):
            raise self._failed(kind, self._last_words()) from None
        except wire.BadMessage as error:
            raise self._failed(
                kind, f"sent something that is no answer and was ended: it {error}"
            ) from error
        except BaseException:
            # Ctrl-C in the middle of an answer: what comes next would be its rest.
            self._end()
            raise
        if "error" in answer:
            text = " ".join(str(answer["error"]).split())
            shown = "".join(c for c in text if c.isprintable())[:600]
            if kind is BadInput:
                self._end()
            raise kind(f"{self.name}: its code failed: {shown}")
        return answer.get("answer"), results

    def _last_words(self) -> str:
        """Say how the process ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        code = self._process.poll()
        if code is None:
            text = "closed its side"
        elif code < 0:
            text = f"was ended by signal {-code}" + (
                " (killed; perhaps memory ran out)" if code == -9 else ""
            )
        else:
            text = f"ended with exit code {code}"
        last = next((line for line in reversed(self._said) if line.strip()), "")
        shown = "".join(c for c in last if c.isprintable())[:200]
        return f"{text} without an answer" + (f"; its last words: {shown}" if shown else "")

    def _failed(self, kind: type[MemscanError], what: str) -> MemscanError:
        self._end()
        return kind(f"{self.name}: its code {what}.")
