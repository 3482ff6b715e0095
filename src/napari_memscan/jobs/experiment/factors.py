"""What can be varied, and what others found of it."""

from __future__ import annotations

from dataclasses import dataclass

FactorValue = str | int | float


@dataclass(frozen=True)
class Factor:
    """Something that is varied.

    Attributes
    ----------
    name : str
        As in ``--factor``.
    what : str
        What its values are, for people.
    expected : str
        What the share of copies does as it grows: ``raises``, ``lowers``, or empty.
    source : str
        Who found that.
    """

    name: str
    what: str
    expected: str = ""
    source: str = ""


DEFAULT_VIEWS = 7
"""Changed versions beside each training volume where there is augmentation."""

PAPER = "Dar et al. (arXiv 2402.01054)"

FACTORS: dict[str, Factor] = {
    factor.name: factor
    for factor in (
        Factor("augmentation", "off, on", "lowers", PAPER),
        Factor("steps", "optimiser steps", "raises", PAPER),
        Factor("epochs", "passes over the training volumes, instead of steps", "raises", PAPER),
        Factor("size", "training volumes, whole subjects; or all", "lowers", PAPER),
        Factor(
            "duplication",
            "how often some volumes are drawn, for once each of the others",
            "raises",
            "Somepalli et al. 2023 (arXiv 2305.20086)",
        ),
        Factor("width", "channels of the denoiser, as a share of those set", "raises", PAPER),
        Factor("seed", "of the training: how far two trainings differ by chance"),
    )
}
DEFAULT_FACTORS = ("augmentation", "steps", "size", "duplication", "width", "seed")
"""Varied where nobody says what is to be varied."""
