"""What can go wrong while networks run, in words, and from where a training can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_memscan.errors import JobFailed, is_out_of_memory


class TrainingDiverged(JobFailed):
    """A loss or its gradients are no longer finite."""


@contextmanager
def explain_divergence(subject: str, rate: float, kept: str) -> Iterator[None]:
    """Say of a training that diverged how to go on.

    Parameters
    ----------
    subject : str
        What diverged.
    rate : float
        Its learning rate.
    kept : str
        What the same command does: goes on, or starts again.
    """
    try:
        yield
    except TrainingDiverged as error:
        raise JobFailed(
            f"{subject} diverged: {error}. With a smaller learning rate "
            f"(learning_rate={rate / 3:.2g}) it {kept}, with weights from before."
        ) from error


@contextmanager
def explain_out_of_memory(place: Any, when: str, advice: str) -> Iterator[None]:
    """Say that memory ran out, and what to do.

    Parameters
    ----------
    place : str or torch.device
        Where it ran out.
    when : str
        At which step, with what.
    advice : str
        A sentence.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise JobFailed(f"{place} ran out of memory {when}. {advice}") from error
