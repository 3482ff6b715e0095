"""What a training reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """One optimiser step is done.

    Attributes
    ----------
    step, total : int
        Steps done and in all.
    loss : float
        Training loss of this step.
    validation_loss : float or None
        Set at the steps where it was measured; None at the others.
    note : str
        What people should know now: once after the first steps what the whole will take, and at
        the last why the training ended early.
    """

    step: int
    total: int
    loss: float
    validation_loss: float | None = None
    note: str = ""
