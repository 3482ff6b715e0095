"""Scores that are larger for volumes a denoiser was trained on; each volume by itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from napari_memscan.detection.membership.noise import NoisePredictor
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED_LEVELS = 1000
"""Levels of the models that the attacks were published for; theirs are scaled to a model's own."""


class MembershipAttack(Protocol):
    """One way to score a latent; larger: rather a training volume.

    Attributes
    ----------
    name, rule : str
        For tables, and what is computed.
    drawn : bool
        The score also depends on noise that is drawn for each volume.
    """

    name: ClassVar[str]
    rule: ClassVar[str]
    drawn: ClassVar[bool]

    def settings(self, levels: int) -> dict[str, Any]:
        """Return all that the score depends on besides model, latent and volume index.

        Raises
        ------
        BadInput
            The model's number of levels is too small.
        """

    def score(self, predictor: NoisePredictor, latent: Tensor, index: int) -> float:
        """Return the score of a latent (1, C, x, y, z) of volume number `index`."""


def scale_level(level: int, levels: int) -> int:
    """Return a level of 1000 as one of a model with other levels, at least 1."""
    own = max(1, round(level * levels / PUBLISHED_LEVELS))
    if not 1 <= own < levels:
        raise BadInput(
            f"noise level {level} of {PUBLISHED_LEVELS}: this model has {levels} levels in "
            "training, too few for this attack."
        )
    return own


def draw_noise(shape: tuple[int, ...], seed: int, index: int, draw: int) -> Tensor:
    """Return standard normal noise that depends on seed, volume index and draw only (CPU)."""
    import torch

    state = np.random.SeedSequence([seed, index, draw]).generate_state(2, np.uint32)
    number = int(state[0]) << 31 | int(state[1]) >> 1
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


@dataclass(frozen=True)
class LossAttack:
    """The training loss at one noise level, averaged over noise ("naive" attack).

    score = -mean over draws of || eps_theta(sqrt(a_t) x0 + sqrt(1 - a_t) eps, t) - eps ||_2^2.
    Larger (a smaller loss): rather a training volume. Matsumoto et al. 2023; the baseline in
    Kong et al. 2024 (see `PIAAttack`).

    Parameters
    ----------
    t : int
        Noise level out of 1000; scaled to the model's own.
    draws : int
        Noises a volume.
    seed : int
        Of the noise.
    """

    name: ClassVar[str] = "loss"
    rule: ClassVar[str] = "-mean ||eps_theta(x_t, t) - eps||^2 over drawn eps"
    drawn: ClassVar[bool] = True

    t: int = 200
    draws: int = 8
    seed: int = 0

    def settings(self, levels: int) -> dict[str, Any]:
        """See `MembershipAttack`."""
        return asdict(self) | {"t": scale_level(self.t, levels)}

    def score(self, predictor: NoisePredictor, latent: Tensor, index: int) -> float:
        """See `MembershipAttack`."""
        t = scale_level(self.t, predictor.levels)
        signal, noise = predictor.factors(t)
        losses = []
        for draw in range(self.draws):
            eps = draw_noise(tuple(latent.shape), self.seed, index, draw).to(latent)
            predicted = predictor.epsilon(signal * latent + noise * eps, t)
            losses.append(_compute_mean_square(predicted - eps))
        return -sum(losses) / self.draws


@dataclass(frozen=True)
class SecMIAttack:
    """How well a deterministic step up and back returns to where it was (SecMI_stat).

    x0 -> x_t by deterministic DDIM steps; then x_(t+step) = up(x_t), x~_t = down(x_(t+step));
    score = -|| x_t - x~_t ||_2^2. Larger (a smaller error): rather a training volume.
    Duan et al. 2023 (ICML, arXiv 2302.01316), t_sec = 100, step 10. The
    authors' code compares one step earlier, at 90; here it is t_sec itself.

    Parameters
    ----------
    t, step : int
        Noise level and step out of 1000; scaled to the model's own.
    """

    name: ClassVar[str] = "secmi"
    rule: ClassVar[str] = "-||x_t - x~_t||^2, x~_t after one DDIM step up and back"
    drawn: ClassVar[bool] = False

    t: int = 100
    step: int = 10

    def settings(self, levels: int) -> dict[str, Any]:
        """See `MembershipAttack`."""
        step = scale_level(self.step, levels)
        t = step * max(1, round(scale_level(self.t, levels) / step))
        if t + step >= levels:
            raise BadInput(f"this model has {levels} levels in training, too few for SecMI.")
        return {"t": t, "step": step}

    def score(self, predictor: NoisePredictor, latent: Tensor, index: int) -> float:
        """See `MembershipAttack`."""
        t, step = self.settings(predictor.levels).values()
        x = latent
        for level in range(0, t, step):
            x = _step_ddim(predictor, x, level, level + step)
        back = _step_ddim(predictor, _step_ddim(predictor, x, t, t + step), t + step, t)
        return -_compute_mean_square(x - back)


@dataclass(frozen=True)
class PIAAttack:
    """How well the noise predicted for the clean latent is found again at another level.

    e = eps_theta(x0, 0); score = -|| e - eps_theta(sqrt(a_t) x0 + sqrt(1 - a_t) e, t) ||_p.
    Larger (a smaller distance): rather a training volume. Two network calls, nothing drawn.
    Kong et al. 2024 (ICLR, arXiv 2305.18355), p = 4, t = 200.

    Parameters
    ----------
    t : int
        Noise level out of 1000; scaled to the model's own.
    p : float
        Of the norm.
    """

    name: ClassVar[str] = "pia"
    rule: ClassVar[str] = "-||e - eps_theta(x_t, t)||_p, e = eps_theta(x0, 0)"
    drawn: ClassVar[bool] = False

    t: int = 200
    p: float = 4.0

    def settings(self, levels: int) -> dict[str, Any]:
        """See `MembershipAttack`."""
        return asdict(self) | {"t": scale_level(self.t, levels)}

    def score(self, predictor: NoisePredictor, latent: Tensor, index: int) -> float:
        """See `MembershipAttack`."""
        t = scale_level(self.t, predictor.levels)
        signal, noise = predictor.factors(t)
        e = self.start(predictor.epsilon(latent, 0))
        distance = e - predictor.epsilon(signal * latent + noise * e, t)
        powers = distance.cpu().double().abs() ** self.p
        return -(float(powers.sum()) ** (1 / self.p))

    def start(self, e: Tensor) -> Tensor:
        """Return the noise to start from, given what is predicted for the clean latent."""
        return e


@dataclass(frozen=True)
class PIANAttack(PIAAttack):
    """PIA with e scaled to the mean absolute value of standard normal noise, sqrt(2 / pi).

    Same source, p and direction as `PIAAttack`. It can miss what the others find: on small
    denoisers overfitted to 4 latents as ``v_prediction`` (6 seeds, 600 and 800 steps) its AUC was
    0.60 to 1.00, where `LossAttack`, `SecMIAttack` and `PIAAttack` had 1.00 each time.
    """

    name: ClassVar[str] = "pian"
    rule: ClassVar[str] = "as pia, with e scaled so that mean |e| = sqrt(2/pi)"

    def start(self, e: Tensor) -> Tensor:
        """Return e with a mean absolute value of sqrt(2 / pi)."""
        mean = float(e.cpu().double().abs().mean())
        if mean == 0:
            raise BadInput(
                "the denoiser predicts only zeros, as an untrained network does; train it first."
            )
        return e * (sqrt(2 / pi) / mean)


@dataclass(frozen=True)
class LatentSizeControl:
    """Mean square of the latent: no denoiser, so no attack.

    Where it tells training from validation volumes, the two differ before any denoiser sees
    them: another distribution, or an autoencoder that was trained on one of them.
    """

    name: ClassVar[str] = "control"
    rule: ClassVar[str] = "mean square of the latent; the denoiser is not asked"
    drawn: ClassVar[bool] = False

    def settings(self, levels: int) -> dict[str, Any]:
        """See `MembershipAttack`."""
        return {}

    def score(self, predictor: NoisePredictor, latent: Tensor, index: int) -> float:
        """See `MembershipAttack`."""
        return _compute_mean_square(latent) / latent.numel()


def select_attacks(name: str, seed: int = 0) -> tuple[MembershipAttack, ...]:
    """Return the attacks of a name: ``loss``, ``secmi``, ``pia`` (with PIAN) or ``all``.

    Raises
    ------
    BadInput
        No such attack.
    """
    known: dict[str, tuple[MembershipAttack, ...]] = {
        "loss": (LossAttack(seed=seed),),
        "secmi": (SecMIAttack(),),
        "pia": (PIAAttack(), PIANAttack()),
    }
    if name == "all":
        return tuple(attack for some in known.values() for attack in some)
    if name not in known:
        raise BadInput(f"attack '{name}' is not known; choose {', '.join(known)} or all.")
    return known[name]


def _step_ddim(predictor: NoisePredictor, x: Tensor, level: int, other: int) -> Tensor:
    """Make one deterministic DDIM step between two levels (Song et al. 2021, eta = 0)."""
    eps = predictor.epsilon(x, level)
    signal, noise = predictor.factors(level)
    to_signal, to_noise = predictor.factors(other)
    return to_signal * ((x - noise * eps) / signal) + to_noise * eps


def _compute_mean_square(x: Tensor) -> float:
    return float(x.cpu().double().square().sum())
