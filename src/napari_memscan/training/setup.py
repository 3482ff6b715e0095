"""What is done before the first step: checks, the task, the device, and a training's name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json
from napari_memscan.training.settings import (
    EMBEDDER_SETTINGS,
    SETTINGS,
    AutoencoderSettings,
    DenoiserSettings,
    EmbedderSettings,
    StructuralSettings,
    TrainingSettings,
    get_settings_class,
)
from napari_memscan.typing import Split, SplitArrays

if TYPE_CHECKING:
    from napari_memscan.training.conditions import Conditions
    from napari_memscan.volumes.preprocessing import Preprocessing


def check_training(
    part: str, arrays: SplitArrays, settings: TrainingSettings, processes: int = 1
) -> None:
    """Refuse settings of another part, and cohorts that are too small.

    Raises
    ------
    BadInput
        Says which, and what to do.
    """
    get_settings_class(part)
    fitting = tuple(EMBEDDER_SETTINGS.values()) if part == "embedder" else (SETTINGS[part],)
    if not isinstance(settings, fitting):
        names = " or ".join(kind.__name__ for kind in fitting)
        raise BadInput(f"settings for {part} must be {names}.")
    for split, least in ((Split.TRAINING, 2), (Split.VALIDATION, 1)):
        if len(arrays.get(split, ())) < least:
            raise BadInput(
                f"the cohort has too few {split} volumes to train: {least} are needed, it has "
                f"{len(arrays.get(split, ()))}. Add volumes to cohort.csv, or move some there by "
                "their 'split'."
            )
    if processes > 1 and part == "embedder":
        raise BadInput(
            "an embedder is trained on one device: what it compares a volume with is the rest of "
            "its batch."
        )
    if settings.batch % processes:
        raise BadInput(
            f"batch {settings.batch}: {processes} processes share each batch evenly, so it must "
            f"be a multiple of {processes}."
        )
    pieces = settings.accumulate * processes
    drawn = settings.batch * settings.accumulate
    n_training = len(arrays[Split.TRAINING])
    if part != "denoiser" and min(drawn, n_training) < pieces:
        raise BadInput(
            f"the cohort has too few training volumes, {n_training}, for accumulate "
            f"{settings.accumulate} on {processes} processes; each needs one."
        )


def make_task(
    part: str,
    arrays: SplitArrays,
    settings: TrainingSettings,
    preprocessing: Preprocessing,
    spacing: tuple[float, float, float] | None,
    autoencoder: str | Path | None,
    device: Any,
    conditions: Conditions | None = None,
) -> Any:
    """Return what is fitted, a `TrainingTask`. Weights are drawn from global numbers."""
    if isinstance(settings, AutoencoderSettings):
        from napari_memscan.training.autoencoder_task import AutoencoderTask

        return AutoencoderTask(arrays, settings, preprocessing, spacing)
    if isinstance(settings, EmbedderSettings):
        from napari_memscan.training.tasks import EmbedderTask

        return EmbedderTask(arrays, settings, preprocessing)
    if isinstance(settings, StructuralSettings):
        from napari_memscan.training.structural_task import StructuralTask

        return StructuralTask(arrays, settings, preprocessing)
    assert isinstance(settings, DenoiserSettings)
    if autoencoder is None:
        raise BadInput("the denoiser needs a trained autoencoder: train that first, or name one.")
    from napari_memscan.training.denoiser_task import DenoiserTask

    return DenoiserTask(arrays, settings, Path(autoencoder), device, conditions)


def compute_fingerprints(
    part: str,
    arrays: SplitArrays,
    settings: TrainingSettings,
    preprocessing: Preprocessing,
    conditions: Conditions | None = None,
) -> tuple[str, str]:
    """Return the name of a training, and one that it shares with those it may be mended by.

    The first is of data and all settings that change weights; the second leaves out
    `Settings.mendable`.
    """
    digest = hashlib.sha256()
    for split in (Split.TRAINING, Split.VALIDATION):
        digest.update(np.ascontiguousarray(arrays[split]).view(np.uint8).data)
    told = [conditions] if getattr(settings, "conditional", False) else []
    names = [
        hash_json(
            [part, digest.hexdigest(), settings.identity(mendable=m), preprocessing.hash, *told]
        )
        for m in (True, False)
    ]
    return names[0], names[1]


def make_fabric(
    device: str, settings: TrainingSettings, devices: int, nodes: int, strategy: str
) -> Any:
    """Return Lightning's Fabric for a device, or for several processes.

    Raises
    ------
    BadInput
        Devices that are not there, or a strategy Lightning does not know.
    """
    import torch
    from lightning.fabric import Fabric

    from napari_memscan.checkpoints.device import choose_device

    chosen = choose_device(device)
    if ":" in device and devices > 1:
        raise BadInput(f"device {device}: with devices {devices} name no single one; say cuda.")
    if chosen.type == "cuda" and devices > torch.cuda.device_count():
        raise BadInput(
            f"devices {devices}: this machine has {torch.cuda.device_count()} GPUs. Take fewer, "
            "or device cpu."
        )
    precision: Any = choose_precision(chosen, settings.precision)
    try:
        return Fabric(
            accelerator=chosen.type,
            devices=[int(device.split(":")[1])] if ":" in device else devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise BadInput(
            f"devices {devices}, nodes {nodes}, strategy {strategy}: {str(error)[:300]}"
        ) from error


def choose_precision(device: Any, wish: str) -> str:
    """Return what to compute in, as Fabric calls it; ``auto`` never takes what is emulated.

    On processors half precision may be hundreds of times slower, and where it is not, the gain is
    small. float16, for GPUs that have no bfloat16 of their own, needs tensor cores (7.0).

    Raises
    ------
    BadInput
        float16 on a processor.
    """
    import torch

    names = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
    if wish == "float16" and device.type == "cpu":
        raise BadInput("precision float16: is for GPUs; on cpu choose auto, float32 or bfloat16.")
    if wish != "auto":
        return names[wish]
    if device.type != "cuda":
        return names["float32"]
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return names["bfloat16"]
    fast = torch.cuda.get_device_capability(device) >= (7, 0)
    return names["float16" if fast else "float32"]
