"""What every training is told."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingSettings(BaseModel):
    """Settings that every training has.

    Attributes
    ----------
    steps : int
        Optimiser steps in all.
    batch : int
        Volumes that are in memory at once, over all devices together.
    accumulate : int
        Such batches in one optimiser step: as a larger batch, at the memory of a small one.
    learning_rate : float
        Peak; reached after a twentieth of the steps, then a cosine to zero.
    anneal : bool
        False keeps the learning rate at its peak instead.
    clip : float
        Gradients are clipped to this norm.
    precision : {"auto", "float32", "bfloat16", "float16"}
        What networks compute in; weights are float32 always. ``auto`` is bfloat16 on a GPU that
        computes it itself, float16 on one that has tensor cores and no bfloat16, float32 on
        everything else.
    validate_every : int
        Steps between two validation losses.
    patience : int
        The training ends when so many validation losses in a row were not below the lowest, and
        the weights of the lowest are written. 0 never ends it.
    save_every : int
        Steps between two saved states; a killed training goes on from the last one.
    log_every : int
        Steps between two rows of the log.
    pictures_every : int
        Steps between two pictures; 0 for none.
    seed : int
        Of weights, batches and noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loose: ClassVar[frozenset[str]] = frozenset(
        {"validate_every", "save_every", "log_every", "pictures_every"}
    )
    """Change nothing in the weights. (With `patience` the first does.)"""
    mendable: ClassVar[frozenset[str]] = frozenset(
        {"learning_rate", "clip", "batch", "accumulate", "precision"}
    )
    """A training that failed may go on with others of these."""
    later: ClassVar[frozenset[str]] = frozenset({"accumulate", "anneal", "precision", "patience"})
    """Count where they differ from their default only: states saved before there were any of
    these still belong to their training."""

    steps: int = Field(1000, ge=1)
    batch: int = Field(4, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    anneal: bool = True
    clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    validate_every: int = Field(100, ge=1)
    patience: int = Field(0, ge=0)
    save_every: int = Field(100, ge=1)
    log_every: int = Field(10, ge=1)
    pictures_every: int = Field(0, ge=0)
    seed: int = 1

    def identity(self, *, mendable: bool = True) -> dict[str, Any]:
        """Return what makes this training another than one with other settings."""
        left_out = set(self.loose) | (set() if mendable else set(self.mendable))
        left_out |= {k for k in self.later if getattr(self, k) == self.default(k)}
        values = self.model_dump(mode="json", exclude=left_out)
        if self.patience:
            values["validate_every"] = self.validate_every
        return values

    @classmethod
    def default(cls, name: str) -> Any:
        """Return the default of a field."""
        return cls.model_fields[name].default
