"""What a training shows to those who watch it, and what they may say."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class CallbackContext:
    """A training between two steps.

    Attributes
    ----------
    step, total : int
        Optimiser steps done and in all.
    training : str
        Of data and settings: two trainings with the same one are the same.
    save : callable
        Writes the present (averaged) weights as a checkpoint into a folder.
    losses : callable
        Returns the mean loss over training volumes and over validation volumes, of the present
        (averaged) weights and with the same noise at every step. Of training as many volumes are
        taken as validation has.
    show : callable
        Takes numbers by name, and the step, for TensorBoard's files where they are written.
    """

    step: int
    total: int
    training: str
    save: Callable[[Path], None]
    losses: Callable[[], tuple[float, float]]
    show: Callable[[dict[str, float], int], None]


class TrainingCallback(Protocol):
    """Looks at a training now and then. Of several processes only the first one looks.

    It may not draw from the global random numbers of torch, numpy or Python without giving them
    back: each step of a training seeds its own, so they do not disturb it, but others may.

    Attributes
    ----------
    every : int
        Steps between two looks. There is one more after the last step.
    """

    every: int

    def __call__(self, moment: CallbackContext) -> Generator[Any, None, bool]:
        """Look; yield progress, return whether the training shall stop here.

        A training that was stopped after a look calls it again for the same step when it goes on.
        """
