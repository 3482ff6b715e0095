"""Does a loaded model behave like a generator? Asked once, before anybody waits for volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from napari_memscan.generators.ldm import LDMGenerator


@dataclass(frozen=True)
class ModelCheck:
    """One question to the model.

    Attributes
    ----------
    name : str
        What was asked.
    passed : bool
        Whether the answer is as it must be.
    text : str
        The answer, with numbers.
    fatal : bool
        The model cannot be used when it failed; else it is a warning.
    """

    name: str
    passed: bool
    text: str
    fatal: bool = True


def check_model(generator: LDMGenerator) -> list[ModelCheck]:
    """Ask the networks of a generator for one denoising step and one decoding each for two seeds.

    No data is needed and a step of a large model is enough: what fails here would make every
    volume useless, and is otherwise seen only after hours.

    Returns
    -------
    list of Check
        Prediction finite, not constant, different for two seeds, the same for the same seed;
        decoded volume finite and not constant, and where it lies against the declared range.
    """
    import torch

    first, again, other = (_predict_step(generator, seed) for seed in (1, 1, 2))
    checks = [
        ModelCheck(
            "finite", bool(torch.isfinite(first).all()), "the denoiser predicts finite numbers"
        ),
        ModelCheck(
            "not constant",
            float(first.std()) > 1e-6,
            f"its standard deviation is {float(first.std()):.3g}",
        ),
        ModelCheck("seeds differ", not torch.equal(first, other), "two seeds give two predictions"),
        ModelCheck(
            "repeats", torch.equal(first, again), "the same seed gives the same, to the bit"
        ),
    ]
    with torch.inference_mode():
        noise = _draw_noise(generator, 1)
        image = generator.model.decode(noise).float().cpu()
    checks.append(
        ModelCheck("decodes", bool(torch.isfinite(image).all()), "noise decodes to finite numbers")
    )
    checks.append(
        ModelCheck(
            "not constant when decoded",
            float(image.std()) > 1e-6,
            f"its standard deviation is {float(image.std()):.3g}",
        )
    )
    checks.append(_check_range(generator, image))
    return checks


def _draw_noise(generator: LDMGenerator, seed: int) -> Tensor:
    import torch

    random = torch.Generator().manual_seed(seed)
    shape = (1, *generator.recipe.latent_shape)
    return torch.randn(shape, generator=random).to(generator.device)


def _predict_step(generator: LDMGenerator, seed: int) -> Tensor:
    import torch

    level = torch.full((1,), generator.recipe.scheduler.num_train_timesteps - 1.0)
    with torch.inference_mode():
        prediction = generator.model.denoise(
            _draw_noise(generator, seed), level.to(generator.device)
        )
    return prediction.float().cpu()


def _check_range(generator: LDMGenerator, image: Any) -> ModelCheck:
    low, high = float(image.min()), float(image.max())
    declared = generator.recipe.decoded_range
    text = f"noise decodes to {low:.3g} ... {high:.3g}"
    if declared is None:
        return ModelCheck(
            "range", True, f"{text}; the model's range is not known, so volumes stay as decoded"
        )
    width = declared[1] - declared[0]
    # Noise is no latent of a patient, so only what is far out is worth a word.
    near = low >= declared[0] - 2 * width and high <= declared[1] + 2 * width
    return ModelCheck("range", near, f"{text}; declared {declared[0]:g} ... {declared[1]:g}", False)


def require_passed(checks: list[ModelCheck], where: str | Path) -> list[str]:
    """Return the warnings among failed checks; BadInput for one that makes the model useless."""
    failed = [check for check in checks if not check.passed]
    fatal = [check for check in failed if check.fatal]
    if fatal:
        raise BadInput(
            f"{where}: the model loads but does not work. Self-test failed: {fatal[0].name} "
            f"(asked: {fatal[0].text}). The weights may be untrained (a new network predicts only "
            "zeros) or damaged, or the recipe does not belong to them."
        )
    return [f"self-test: {check.name}: {check.text}" for check in failed]
