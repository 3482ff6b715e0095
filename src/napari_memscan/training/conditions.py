"""Conditions that a denoiser learns: which there are, and the class label of each volume."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_memscan.checkpoints.recipe import Conditioning
from napari_memscan.errors import BadInput
from napari_memscan.typing import Split

Conditions = dict[Split, list[str]]
"""``training`` and ``validation``: a text for each volume, empty where it is unknown."""


def learn_conditioning(
    conditions: Conditions | None, weights: Tensor, guidance: float | None
) -> Conditioning:
    """Return the conditions of training volumes, with the share in which each is drawn.

    Parameters
    ----------
    conditions : Conditions or None
    weights : tensor (n,)
        How often each training volume is drawn, relative to the others.
    guidance : float or None
        See `Conditioning`.

    Raises
    ------
    BadInput
        There are too few, or so many that they rather name volumes.
    """
    training = conditions[Split.TRAINING] if conditions else []
    classes = sorted(set(training) - {""})
    if not 2 <= len(classes) <= len(training) // 2:
        raise BadInput(
            f"conditional: the column 'condition' of cohort.csv has {len(classes)} different texts "
            f"for {len(weights)} training volumes. At least 2 are needed, and at most half as "
            "many as volumes."
        )
    drawn: dict[str, float] = dict.fromkeys(["", *classes], 0.0)
    for name, weight in zip(training, weights.tolist(), strict=True):
        drawn[name] += weight
    shares = tuple(drawn[name] / sum(drawn.values()) for name in classes)
    return Conditioning(classes=tuple(classes), shares=shares, guidance=guidance)


def drop_labels(labels: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Return class labels (n,) with "no condition" in the place of a share, drawn on the CPU."""
    out = torch.rand(len(labels), generator=random) < share
    return labels.masked_fill(out.to(labels.device), 0)
