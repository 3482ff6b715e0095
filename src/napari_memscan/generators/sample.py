"""What every generator yields, and the settings that its bytes depend on."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

from napari_memscan.errors import BadInput
from napari_memscan.volumes.volume import Volume


@dataclass(frozen=True)
class SamplingSettings:
    """How networks are run: all that the bytes of a sample depend on besides seed and recipe.

    Convolutions round differently at another batch size, precision, memory format or number of
    threads. So these are chosen once, written beside every sample, and kept when a study goes on.
    The defaults are what samples were made with before settings were written.

    Attributes
    ----------
    batch : int
        Samples denoised at once; always exactly so many.
    precision : str
        ``float32``, or what autocast computes in: ``bfloat16``, ``float16``.
    memory : str
        ``contiguous`` or ``channels_last``: order of weights and activations in memory.
    threads : int
        Of the processor; 0 where it does not count, on a GPU.
    decode : str
        ``whole``, or ``window:4x4x4:0.5`` for windows of so many latent cells and their overlap.
    guidance : str
        Of `generators.guidance.Guidance`; empty, and not written, where there was none.
    """

    batch: int = 1
    precision: str = "float32"
    memory: str = "contiguous"
    threads: int = 0
    decode: str = "whole"
    guidance: str = ""

    def __str__(self) -> str:
        pairs = zip(fields(self), astuple(self), strict=True)
        return " ".join(f"{field.name}={value}" for field, value in pairs if value != "")

    @classmethod
    def parse(cls, text: str) -> SamplingSettings:
        """Read what `str` wrote; an empty text gives the defaults.

        Raises
        ------
        BadInput
            Not such a text.
        """
        try:
            values = dict(pair.split("=", 1) for pair in text.split())
            numbers = {name: int(values.pop(name)) for name in ("batch", "threads") if values}
            return cls(**numbers, **values)  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"settings '{text[:80]}' in samples.csv: not readable. They look like '{cls()}'."
            ) from error


@dataclass(frozen=True)
class DenoisingStep:
    """One denoising step of one batch is done.

    Attributes
    ----------
    sample : int
        Index of the batch's first sample in this run, from 0.
    step, total : int
        Steps done of this batch (1 to `total`) and in all.
    """

    sample: int
    step: int
    total: int


@dataclass(frozen=True, eq=False)
class GeneratedSample:
    """One finished synthetic volume with all that is needed to make it again.

    Attributes
    ----------
    index : int
        Index of the sample in this run, from 0.
    seed : int or None
        Seed of its noise; None for a volume made elsewhere.
    volume : Volume
        The synthetic volume, in the intensity units of the recipe.
    recipe_hash, checkpoint_hash : str
        What made it; empty for a volume made elsewhere.
    settings : str
        Of `SamplingSettings`; empty for a volume made elsewhere.
    condition : str
        What a conditional model was told of it; empty for none.
    """

    index: int
    seed: int | None
    volume: Volume
    recipe_hash: str = ""
    checkpoint_hash: str = ""
    settings: str = ""
    condition: str = ""
