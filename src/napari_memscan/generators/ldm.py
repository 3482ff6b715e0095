"""A latent diffusion model that volumes are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.device import choose_device
from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import Conditioning, LDMRecipe
from napari_memscan.checkpoints.trusted.child_model import check_child_settings
from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.generators import decoding
from napari_memscan.generators import memory as needs
from napari_memscan.generators import runtime as machine
from napari_memscan.generators.guidance import Guidance
from napari_memscan.generators.sample import DenoisingStep, GeneratedSample, SamplingSettings
from napari_memscan.generators.sampling_run import SamplingRun
from napari_memscan.generators.schedule import SamplingSchedule
from napari_memscan.typing import Array


class LDMGenerator:
    """Draws volumes from a 3D latent diffusion model.

    Parameters
    ----------
    path : path or Checkpoint
        Of a checkpoint of any known family, or it is loaded already.
    device : str
        ``auto``, ``cpu``, ``cuda`` ...
    declared, trust
        See `load_checkpoint`.

    Attributes
    ----------
    recipe : LDMRecipe
        All that the weights do not say.
    report : LoadReport
        How the checkpoint was loaded.
    model : LatentModel
        The networks.
    recipe_hash, checkpoint_hash : str
        Written beside every sample.

    Raises
    ------
    BadInput
        Not an LDM checkpoint, or recipe and weights do not fit.
    """

    def __init__(
        self,
        path: str | Path | Checkpoint,
        device: str = "auto",
        declared: Mapping[str, Any] | ModelOverrides | None = None,
        trust: bool = False,
    ) -> None:
        self.device = choose_device(device)
        checkpoint = (
            path
            if isinstance(path, Checkpoint)
            else load_checkpoint(path, declared, "ldm", trust=trust, device=str(self.device))
        )
        assert isinstance(checkpoint.recipe, LDMRecipe)
        self.path = checkpoint.path
        self.recipe = checkpoint.recipe
        self.report = checkpoint.report
        self.recipe_hash = self.recipe.hash
        self.checkpoint_hash = checkpoint.hash
        self.model = checkpoint.build_model(self.device)
        self._memory = "contiguous"

    def generate(
        self,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        start: int = 0,
        guidance: Guidance | str | None = None,
        conditions: Sequence[str] | None = None,
        **settings: Any,
    ) -> Iterator[DenoisingStep | GeneratedSample]:
        """Draw one volume for each seed.

        All noise of a sample is drawn from its own seed, on the CPU. Convolutions round
        differently at other batch sizes; so batches are always full, the last one filled by
        repeating a seed, and the same seed with the same settings gives the same bytes whatever
        is drawn before, after or beside it.

        Parameters
        ----------
        seeds : sequence of int
            One a sample; each fits 64 bits.
        steps : int, optional
            Denoising steps, at most as many as the recipe has noise levels; default from the
            recipe.
        sampler : {"ddim", "ddpm", "rflow"}, optional
            Default from the recipe.
        start : int
            Index of the first sample.
        guidance : Guidance, optional
            Away from training volumes. One of strength 0 changes no byte, nor does ``""``, which
            `SamplingSettings` say where there was none.
        conditions : sequence of str, optional
            One a sample; see `condition`.
        **settings
            See `choose`.

        Yields
        ------
        Step
            After each denoising step of a batch; not asking on stops there.
        Sample
            After decoding; of a batch one after the other.

        Raises
        ------
        BadInput
            `steps`, `sampler`, `guidance` or a condition does not fit the recipe, a setting the
            machine, or a seed does not fit 64 bits.
        JobFailed
            The decoded volume is not finite, or memory does not suffice.
        """
        steps = self.recipe.steps if steps is None else steps
        schedule = SamplingSchedule(
            self.recipe.scheduler,
            sampler or self.recipe.sampler,
            steps,
            prod(self.recipe.latent_shape[1:]),
        )
        for seed in seeds:
            if not -(2**63) <= seed < 2**64:
                raise BadInput(f"seed {seed}: a seed must fit 64 bits.")
        wishes = [None] * len(seeds) if conditions is None else conditions
        told = [self.condition(*pair) for pair in zip(seeds, wishes, strict=True)]
        chosen = self.choose(**settings)
        if isinstance(guidance, str) and guidance:
            raise BadInput(
                f"guidance '{guidance[:60]}': the latents of the training volumes are needed, not "
                "only the words for them."
            )
        if not guidance:
            return SamplingRun(self, schedule, chosen).run(seeds, told, start)
        self.check_guidance(guidance)
        chosen = replace(chosen, guidance=str(guidance))
        return SamplingRun(self, schedule, chosen, guidance).run(seeds, told, start)

    def check_guidance(self, guidance: Guidance | None = None) -> None:
        """Refuse guidance where latents of volumes cannot be had as the denoiser knows them.

        Parameters
        ----------
        guidance : Guidance, optional
            Of latents that must be this model's.

        Raises
        ------
        BadInput
            Says what the recipe lacks.
        """
        recipe = self.recipe
        if recipe.decoded_range is None:
            raise BadInput(
                f"{self.path}: guidance needs the range of intensities that the autoencoder takes, "
                "and the checkpoint does not say it: decoded_range.",
                Hint(HintKind.UNGUIDED),
            )
        if recipe.decode_shape is not None:
            raise BadInput(
                f"{self.path}: this model's latents are padded for the denoiser, so those of "
                "training volumes do not lie where the denoiser's do.",
                Hint(HintKind.UNGUIDED),
            )
        if guidance is not None and guidance.shape != tuple(recipe.latent_shape):
            raise BadInput(
                f"{self.path}: guidance with latents of {guidance.shape}, but the denoiser knows "
                f"{tuple(recipe.latent_shape)}. Encode the training volumes with this model."
            )

    def encode_volume(self, volume: Array) -> Array:
        """Return a volume's latent (C, x, y, z), scaled as the denoiser knows it; nothing is drawn.

        Parameters
        ----------
        volume : array (X, Y, Z), float32
            In [0, 1], RAS, of the recipe's own preprocessing.

        Raises
        ------
        BadInput
            Encoder and denoiser do not agree on the shape of a latent.
        JobFailed
            The encoder returned NaN or infinity.
        """
        import torch

        codec, wanted = self.model.codec, tuple(self.recipe.latent_shape)
        with torch.inference_mode():
            latent = codec.scaled(codec.encode_mean(codec.prepare(volume, self.device)))
            values: Array = latent.float().cpu().numpy()[0]
        if values.shape != wanted:
            raise BadInput(
                f"{self.path}: the encoder makes latents of {values.shape} of a training volume, "
                f"the denoiser knows {wanted}.",
                Hint(HintKind.UNGUIDED),
            )
        if not np.isfinite(values).all():
            raise JobFailed(
                f"{self.path}: its autoencoder made NaN or infinity of a training volume. The "
                "checkpoint may be damaged.",
                Hint(HintKind.UNGUIDED),
            )
        return values

    def condition(self, seed: int, wish: str | None = None) -> str:
        """Return what the denoiser is told of a seed's sample; empty for none.

        Parameters
        ----------
        seed : int
            Draws it, by the shares of training.
        wish : str, optional
            Goes before that; empty for none.

        Raises
        ------
        BadInput
            The model does not know it.
        """
        told = self.recipe.conditioning or Conditioning()
        if wish is None:
            return told.draw(int(seed))
        if wish not in ("", *told.classes):
            raise BadInput(
                f"condition '{wish[:60]}': {self.path} knows "
                f"{', '.join(told.classes) or 'no conditions by name; leave it out'}."
            )
        return wish

    def choose(
        self,
        *,
        batch: int | str = "auto",
        precision: str = "auto",
        memory: str = "auto",
        threads: int | str = "auto",
        decode: str = "auto",
    ) -> SamplingSettings:
        """Choose how to run the networks: what is ``auto``, by asking the machine.

        Parameters
        ----------
        batch : int or "auto"
            Samples denoised at once; see `runtime.choose_batch_size`.
        precision : {"auto", "float32", "bfloat16", "float16"}
            See `runtime.choose_precision`.
        memory : {"auto", "contiguous", "channels_last"}
            See `runtime.choose_memory_format`.
        threads : int or "auto"
            Of the processor; ``auto`` takes PyTorch's number. 0 on a GPU.
        decode : str
            ``auto``, ``whole``, ``window``, or a given window; see `decoding.choose_decoding`.

        Raises
        ------
        BadInput
            A setting that does not exist or does not go with the device.
        """
        import torch

        if self.report.trusted:
            batch, precision, memory, decode = check_child_settings(
                batch, precision, memory, decode
            )
        on_cpu = self.device.type == "cpu"
        if threads == "auto":
            threads = torch.get_num_threads()
        n = machine.parse_number("threads", threads) if on_cpu and threads != 0 else 0
        named = machine.choose_precision(self.device, n, precision)
        return SamplingSettings(
            machine.choose_batch_size(self._need_of_a_step, self.device)
            if batch == "auto"
            else machine.parse_number("batch", batch),
            named,
            machine.choose_memory_format(self.device, n, named, memory),
            n,
            decoding.choose_decoding(self._on_meta, self.device, decode),
        )

    def arrange_weights(self, memory: str) -> None:
        """Lay the networks' weights out as `SamplingSettings.memory` says, unless they lie so."""
        if self._memory != memory:
            machine.to_memory_format(self.model.denoiser, memory)
            machine.to_memory_format(self.model.codec.network, memory)
            self._memory = memory

    @cached_property
    def _on_meta(self) -> LatentModel:
        """The networks without memory or arithmetic, to count what they would need."""
        import torch

        if self.report.trusted:
            return self.model  # There is no other; `check_child_settings` asks it for nothing.
        recipe = self.recipe
        with torch.device("meta"):
            networks = build_autoencoder(recipe.autoencoder), build_denoiser(recipe.denoiser)
            return LatentModel(recipe, *networks)

    @cached_property
    def _need_of_a_step(self) -> needs.MemoryNeed:
        import torch

        with torch.device("meta"):
            latent, level = torch.zeros((1, *self.recipe.latent_shape)), torch.zeros(1)
            return needs.estimate_need(self._on_meta.denoise, latent, level)
