"""How large latents and volumes of a 3D VQ-GAN are, when only some of it is stated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from napari_memscan.checkpoints.families.family import FactCollector, MissingFact
from napari_memscan.checkpoints.families.lightning_settings import get_setting, read_hyperparameters
from napari_memscan.checkpoints.latent_model import from_ras_order, to_ras_order
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.errors import BadInput
from napari_memscan.typing import GridShape

_AXES = "RASLPI"  # a letter's place modulo 3 is X, Y or Z


class VQGANSettings(NamedTuple):
    """What the VQ-GAN's training says, in the order of the network's axes D, H, W."""

    origin: str = ""
    downsample: GridShape | None = None
    latent: GridShape | None = None

    @classmethod
    def of(cls, content: Any, origin: str) -> VQGANSettings:
        """Return them from a Lightning checkpoint; None for what is not there."""
        values = read_hyperparameters(content)
        model = get_setting(values, "cfg.model") or get_setting(values, "model") or {}
        if not isinstance(model, dict):
            return cls(origin)
        slices, side = model.get("diffusion_depth_size"), model.get("diffusion_img_size")
        return cls(origin, _to_triple(model.get("downsample")), _to_triple([slices, side, side]))


def _to_triple(value: Any) -> GridShape | None:
    if isinstance(value, list) and len(value) == 3 and all(type(n) is int and n > 0 for n in value):
        return value[0], value[1], value[2]
    return None


def _to_xyz(axes: str, lengths: GridShape) -> GridShape:
    x, y, z = to_ras_order(lengths, axes)
    return x, y, z


@dataclass(frozen=True)
class VQGANSizes:
    """What is known, in the order of the network's axes; None where nobody has said it.

    Attributes
    ----------
    axes : str
        Where the network's axes point to.
    downsample : (int, int, int) or None
        By how much each is shrunk.
    latent : (int, int, int, int) or None
        Channels and axes of a latent.
    """

    axes: str
    downsample: GridShape | None = None
    latent: tuple[int, int, int, int] | None = None

    @classmethod
    def gather(
        cls,
        found: PathProbe,
        facts: FactCollector,
        settings: VQGANSettings,
        channels: int,
        largest: int,
    ) -> VQGANSizes:
        """Collect them; what nobody has said becomes missing. Whether they fit is for `shape`.

        Parameters
        ----------
        settings : VQGANSettings
            Of the VQ-GAN's training.
        channels, largest : int
            Of the codes, and the largest factor of the VQ-GAN: what the weights say.
        """
        default = "the family's default: depth first"
        axes = facts.choose("axes", ("SRA", default)) or "SRA"
        order = ", ".join("XYZ"[_AXES.index(letter) % 3] for letter in axes)
        shape, latent = found.declared.shape, found.declared.latent_shape

        factors = settings.downsample and _to_xyz(axes, settings.downsample)
        options = [(factors, settings.origin)]
        if shape and latent:
            x, y, z = (n // m for n, m in zip(shape, _to_xyz(axes, latent[1:]), strict=True))
            options.append(((x, y, z), "declared shape / latent_shape"))
        factors = facts.need(
            "downsample",
            f"by how much the VQ-GAN shrinks X, Y, Z (the largest is {largest}); model.downsample "
            f"of its training has it in the order {order}, and so has its own .ckpt "
            "(autoencoder=FILE.ckpt)",
            *options,
            example=f"{largest},{largest},{largest // 2}",
        )
        downsample = from_ras_order(factors, axes) if factors else None

        sizes: list[tuple[tuple[int, int, int, int] | None, str]] = []
        if shape and downsample:
            a, b, c = (n // m for n, m in zip(from_ras_order(shape, axes), downsample, strict=True))
            sizes.append(((channels, a, b, c), "declared shape / downsample"))
        if settings.latent:
            sizes.append(((channels, *settings.latent), settings.origin))
        chosen = facts.choose("latent_shape", *sizes)
        if chosen is None and not shape:
            what = (
                "voxels of a volume along X, Y, Z (or latent_shape: channels and "
                f"{order} of a latent, as {channels},8,64,64)"
            )
            facts.missing.append(MissingFact("shape", what, "256,256,32"))
        return cls(axes, downsample, chosen)

    def shape(
        self, path: Path, stated: GridShape | None, channels: int, largest: int, halved: int = 1
    ) -> GridShape:
        """Return the shape of a volume along X, Y, Z.

        Parameters
        ----------
        path : Path
            Of the weights.
        stated : (int, int, int) or None
            The shape the user stated.
        channels, largest : int
            As for `gather`.
        halved : int
            The denoiser needs the last two axes of a latent as multiples of it.

        Raises
        ------
        BadInput
            Something does not fit; says what with the numbers.
        """
        if self.downsample is None or self.latent is None:
            raise BadInput(f"{path}: downsample and shape of the volumes are not known.")
        factors = _to_xyz(self.axes, self.downsample)
        if max(factors) != largest or any(n < 1 or n & (n - 1) for n in factors):
            raise BadInput(
                f"{path}: downsample {factors} (X, Y, Z): powers of two are expected, the largest "
                f"{largest}, since the VQ-GAN has {largest.bit_length() - 1} blocks and each "
                "halves an axis."
            )
        a, b, c = (n * m for n, m in zip(self.latent[1:], self.downsample, strict=True))
        shape = _to_xyz(self.axes, (a, b, c))
        if stated is not None and stated != shape:
            raise BadInput(
                f"{path}: with downsample {factors} a latent of"
                f" {_to_xyz(self.axes, self.latent[1:])} decodes to {shape}, but the stated shape"
                f" is {stated} (all X, Y, Z). Each axis of the shape must be a multiple of its"
                " downsample."
            )
        if self.latent[0] != channels:
            raise BadInput(
                f"{path}: latent_shape {self.latent}: the codes have {channels} channels."
            )
        if self.latent[2] % halved or self.latent[3] % halved:
            raise BadInput(
                f"{path}: latent_shape {self.latent}: the denoiser halves the last two axes, so "
                f"both must be multiples of {halved}. Correct shape {shape} or downsample "
                f"{factors} (X, Y, Z)."
            )
        return shape
