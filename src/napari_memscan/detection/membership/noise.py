"""What a denoiser predicts, as noise, whatever its weights were trained to predict."""

from __future__ import annotations

from copy import copy
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.checkpoints.networks import build_scheduler
from napari_memscan.checkpoints.recipe import FlowRecipe, LDMRecipe
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.volumes.orientation import from_ras

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def to_epsilon(output: Tensor, noisy: Tensor, signal: float, noise: float, kind: str) -> Tensor:
    """Turn a denoiser's output into the noise it stands for.

    With x_t = signal x0 + noise eps and the denoiser's output o:

    - ``epsilon``: eps = o
    - ``v_prediction``: eps = signal o + noise x_t (Salimans & Ho 2022, appendix D)
    - ``sample``: eps = (x_t - signal o) / noise
    - ``velocity``, o = x0 - eps and signal = 1 - noise (Liu et al. 2022, with MONAI's sign):
      eps = x_t - signal o

    Parameters
    ----------
    output, noisy : tensor (N, C, x, y, z)
        What the denoiser made of x_t, and x_t.
    signal, noise : float
        Factors of x0 and eps in x_t.
    kind : str
        The recipe's ``prediction_type``.

    Raises
    ------
    BadInput
        Another kind; or ``sample`` at a level that has no noise.
    """
    if kind == "epsilon":
        return output
    if kind == "v_prediction":
        return signal * output + noise * noisy
    if kind == "velocity":
        return noisy - signal * output
    if kind == "sample":
        if noise == 0:
            raise BadInput(
                "this model predicts the clean latent and its first noise level has no noise, so "
                "what it predicts there cannot be told as noise. "
                "The attack on the loss asks for none."
            )
        return (noisy - signal * output) / noise
    raise BadInput(f"prediction type '{kind}' is not known; membership inference needs noise.")


class NoisePredictor:
    """The noise that an LDM's denoiser predicts, and latents as it was trained on.

    Parameters
    ----------
    model : LatentModel
        The networks.
    device : torch.device or str
        Where they are.
    same_condition : bool
        The condition in the recipe is that of every training and validation volume.

    Attributes
    ----------
    recipe : LDMRecipe
        Of the model, with the condition used here.
    levels : int
        Number of noise levels in training.
    condition : str
        What the denoiser is told besides latent and level, for people.

    Raises
    ------
    BadInput
        The denoiser wants a condition that differs from volume to volume; nobody has said it.
    """

    def __init__(
        self, model: LatentModel, device: torch.device | str = "cpu", same_condition: bool = False
    ) -> None:
        self.device = device
        self.recipe, self.condition = _with_one_condition(model.recipe, same_condition)
        self.levels = self.recipe.scheduler.num_train_timesteps
        self.same_condition = same_condition
        self._model = LatentModel(self.recipe, model.codec.network, model.denoiser)
        self._label: int | None = None
        self._kept: Any = None
        if not isinstance(self.recipe.scheduler, FlowRecipe):
            self._kept = build_scheduler(self.recipe.scheduler, "ddpm").alphas_cumprod

    def with_condition(self, condition: str) -> NoisePredictor:
        """Return one that tells the denoiser this condition, or none where it does not know it.

        For a recipe with `classes`; without this the denoiser is told none.
        """
        assert self.recipe.conditioning is not None
        other = copy(self)
        other._label = self.recipe.conditioning.label(condition)
        return other

    def factors(self, level: int) -> tuple[float, float]:
        """Return the factors of latent and noise at a level, from 0 to `levels` - 1.

        sqrt(a_t) and sqrt(1 - a_t), a_t being the product of 1 - beta up to this level; for a
        rectified flow 1 - t / levels and t / levels.
        """
        if self._kept is None:
            return 1 - level / self.levels, level / self.levels
        kept = float(self._kept[level])
        return sqrt(kept), sqrt(1 - kept)

    def epsilon(self, noisy: Tensor, level: int) -> Tensor:
        """Return the predicted noise for latents (N, C, x, y, z) at a level, float32.

        Raises
        ------
        JobFailed
            The denoiser returned NaN or infinity.
        """
        import torch

        schedule = self.recipe.scheduler
        whole = not isinstance(schedule, FlowRecipe) or schedule.use_discrete_timesteps
        t = torch.full((len(noisy),), level if whole else float(level), device=self.device)
        labels = None if self._label is None else torch.full_like(t, self._label, dtype=torch.long)
        output = self._model.denoise(noisy.to(self.device), t, labels).float()
        if not torch.isfinite(output).all():
            raise JobFailed(
                f"the denoiser returned NaN or infinity at noise level {level}. The checkpoint may "
                "be damaged or the scale_factor in its recipe wrong."
            )
        return to_epsilon(output, noisy, *self.factors(level), schedule.prediction_type)

    def encode(self, volume: NDArray[np.float32]) -> Tensor:
        """Map a volume to the latent that the denoiser was trained on: mean, scaled, padded.

        Parameters
        ----------
        volume : array (X, Y, Z), float32
            In [0, 1], in RAS, of the recipe's preprocessing.

        Returns
        -------
        tensor (1, C, x, y, z)
            Where the autoencoder has a posterior, its mean; nothing is drawn.

        Raises
        ------
        BadInput
            The latent is not of the denoiser's shape.
        """
        import torch

        low, high = self.recipe.decoded_range or (0.0, 1.0)
        array = np.ascontiguousarray(from_ras(volume, self.recipe.axes))
        x = torch.from_numpy(array)[None, None].to(self.device)
        latent = self._scaled(self._model.encode_mean(x * (high - low) + low).float())
        shape = tuple(latent.shape[1:])
        if shape != self.recipe.latent_shape:
            raise BadInput(
                f"the autoencoder makes latents of {shape}, the denoiser takes "
                f"{self.recipe.latent_shape}: recipe and autoencoder do not fit each other."
            )
        return latent

    def _scaled(self, latent: Tensor) -> Tensor:
        """Do the opposite of `Codec.unscaled`: scale, and pad with zeros where that crops."""
        from torch.nn.functional import pad

        recipe = self.recipe
        if recipe.latent_scaling == "codebook":
            low, high = self._model.codec.network.codebook_range
            latent = (latent - low) / (high - low) * 2 - 1
        else:
            assert recipe.scale_factor is not None
            latent = latent * recipe.scale_factor
        if recipe.decode_shape is None:
            return latent
        margins: list[int] = []
        for axis, (want, have) in enumerate(
            zip(recipe.latent_shape[1:], latent.shape[2:], strict=True)
        ):
            start = recipe.decode_start
            first = max(want // 2 - have // 2, 0) if start is None else start[axis]
            margins = [first, want - have - first, *margins]  # The last axis comes first.
        return pad(latent, margins)


def _with_one_condition(recipe: LDMRecipe, same: bool) -> tuple[LDMRecipe, str]:
    """Return the recipe with one condition for all volumes, unguided, and that in words.

    Guidance is left out: the denoiser was trained to predict without it.
    """
    condition = recipe.conditioning
    if condition is None:
        return recipe, "none"
    changes: dict[str, Any] = {"guidance": None}
    told = []
    if condition.context is not None and not same:
        if condition.guidance is None:
            names = f" ({', '.join(condition.names)})" if condition.names else ""
            raise BadInput(
                f"the denoiser is told {len(condition.context)} values of each volume{names}, and "
                "those of the training and validation volumes are not known. If all have the "
                "condition that the recipe names, say that it is the same."
            )
        changes["context"] = (condition.fill,) * len(condition.context)
        told.append("no condition, as the model was trained for guidance")
    elif condition.context is not None:
        told.append(f"context {', '.join(f'{c:g}' for c in condition.context)}")
    if condition.regions is not None:
        if not same:
            raise BadInput(
                "the denoiser is told the body region of each volume, and those of the training "
                "and validation volumes are not known. If all have the regions that the recipe "
                "names, say that they are the same."
            )
        told.append("regions of the recipe")
    if condition.class_label is not None:
        told.append(f"class {condition.class_label}")
    if condition.classes:
        if same:
            raise BadInput(
                f"the model knows {', '.join(condition.classes)}, and each volume's own is in "
                "cohort.csv. So it is not the same for all."
            )
        told.append(f"each volume's own of {', '.join(condition.classes)}")
    if condition.spacing:
        told.append("voxel size of the recipe")
    changed = condition.model_copy(update=changes)
    return recipe.model_copy(update={"conditioning": changed}), "; ".join(told) or "none"
