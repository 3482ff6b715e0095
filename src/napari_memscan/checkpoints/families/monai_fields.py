"""What is known of a model of the MONAI family, what is missing, and what is doubtful."""

from __future__ import annotations

from typing import Any

from napari_memscan.checkpoints.checkpoint import Fact
from napari_memscan.checkpoints.families.family import FactCollector, MissingFact, build_recipe
from napari_memscan.checkpoints.families.monai_config import compute_latent_shape
from napari_memscan.checkpoints.families.monai_plans import BundlePlan, compute_downsampling_factor
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import Conditioning
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import MinMax

PARTS = ("autoencoder", "denoiser")
SCALE_FACTOR_HELP = (
    "1/std of the training latents; the files do not hold it. Such models are trained with it "
    "and their own scripts then sample with 1.0: scale_factor=1.0 reproduces those scripts. "
    "memscan estimates it where training volumes are given"
)


def gather_fields(found: PathProbe, plan: BundlePlan, facts: FactCollector) -> dict[str, Any]:
    """Return what is known by name, and note what is missing.

    Raises
    ------
    BadInput
        What is stated does not fit the networks, or they are none of ours.
    """
    for part in PARTS:
        if plan.files.get(part) is None:
            where = f"the weight file ({plan.named.get(part)} is not in {plan.folder})"
            facts.missing.append(MissingFact(part, where))
    declared = found.declared
    channels = plan.denoiser.arguments.get("out_channels", 3)
    for name, target in (("autoencoder", plan.autoencoder), ("denoiser", plan.denoiser)):
        if target.arguments.get("spatial_dims", 3) != 3:
            raise BadInput(f"{found.path}: the {name} is a 2D network; memscan compares volumes.")
    shaped = compute_latent_shape(
        declared.shape, channels, compute_downsampling_factor(plan.autoencoder), found.path
    )
    known: dict[str, Any] = {
        "latent_shape": facts.need(
            "latent_shape",
            "channels and axes of a latent",
            (shaped, "declared shape"),
            plan.latent_shape,
            example=f"{channels},36,44,28",
        ),
        "decode_shape": facts.choose("decode_shape", plan.decode_shape),
        "scale_factor": facts.need("scale_factor", SCALE_FACTOR_HELP, plan.scale_factor),
        "sampler": facts.need(
            "sampler",
            "the configuration samples with PNDM, which memscan does not; ddim walks the same "
            "noise levels",
            (plan.sampler or None, plan.origin),
            example="ddim",
        ),
        "schedule": plan.schedule,
        "steps": facts.choose("steps", plan.steps, (50, "the family's default")),
        "axes": facts.choose("axes", plan.training.axes, ("RAS", "assumed, nothing tells it")),
        "spacing": facts.choose("spacing", plan.training.spacing),
        "intensity": declared.intensity or plan.training.intensity.value or MinMax(),
        "decoded_range": facts.choose("decoded_range", plan.training.decoded_range),
    }
    rule = known["intensity"]
    origin = "declared" if declared.intensity else plan.training.intensity.origin
    facts.facts.append(Fact("intensity", _format_rule(rule), origin or "assumed, nothing tells it"))
    prediction = facts.choose(
        "prediction_type", (getattr(plan.schedule, "prediction_type", None), plan.origin)
    )
    if prediction != plan.schedule.prediction_type:
        known["schedule"] = plan.schedule.model_copy(update={"prediction_type": prediction})
    own = declared.decode_shape is None and known["decode_shape"] is not None
    known["decode_start"] = plan.decode_start if own else None
    known["conditioning"] = _build_conditioning(found, plan, facts)
    own_channels = plan.autoencoder.arguments.get("latent_channels", 3)
    if own_channels != channels:
        raise BadInput(
            f"{found.path}: the autoencoder has {own_channels} latent channels, the denoiser makes "
            f"{channels}; they do not belong together."
        )
    return known


def _build_conditioning(
    found: PathProbe, plan: BundlePlan, facts: FactCollector
) -> Conditioning | None:
    arguments = plan.denoiser.arguments
    extra = arguments.get("in_channels", 0) - arguments.get("out_channels", 0)
    width = arguments.get("cross_attention_dim") if arguments.get("with_conditioning") else None
    context: Any = None
    label: Any = None
    if width is not None:
        names = f" ({', '.join(plan.names)})" if plan.names else ""
        context = facts.need(
            "context",
            f"{width} values that steer the model{names}",
            plan.context,
            example=f"{','.join(['0.5'] * min(width, 8))}{',...' if width > 8 else ''}",
        )
        if context is not None and len(context) != width:
            raise BadInput(
                f"{found.path}: context has {len(context)} values, the denoiser takes {width}"
                f"{names}."
            )
    if extra and extra != width:
        raise BadInput(
            f"{found.path}: the denoiser takes {extra} more channels than it makes, a mask or an "
            "image perhaps; such models are not supported. Sample with their own script and scan "
            "the folder of volumes."
        )
    if arguments.get("num_class_embeds") is not None:
        label = facts.need(
            "class_label", f"which of {arguments['num_class_embeds']} classes", example="1"
        )
        if label is not None and label >= arguments["num_class_embeds"]:
            raise BadInput(
                f"{found.path}: class_label {label}: the denoiser knows "
                f"{arguments['num_class_embeds']}, counted from 0."
            )
    guidance = facts.choose("guidance")
    if context is None and label is None and guidance is None:
        return None
    names_ = plan.names if context is not None and len(plan.names) == len(context) else ()
    return build_recipe(
        found.path,
        Conditioning,
        context=context,
        names=names_,
        guidance=guidance,
        concatenate=bool(extra and context),
        class_label=label,
    )


def list_doubts(found: PathProbe, plan: BundlePlan, known: dict[str, Any]) -> list[str]:
    """Return what a reader of the numbers must know."""
    doubts = []
    declared = found.declared
    stood_in = declared.scale_factor_from is not None
    if declared.scale_factor == 1.0 and plan.scale_factor.value is None and not stood_in:
        doubts.append(
            "scale factor 1 reproduces the model's own scripts, though it was trained with 1/std "
            "of its latents: volumes are not what the training aimed at"
        )
    if known["spacing"] is None:
        doubts.append("the voxel size is not known (spacing)")
    if known["decoded_range"] is None:
        doubts.append(
            "which decoded values mean 0 and 1 is not known (decoded_range): volumes stay as they "
            "are decoded"
        )
    if declared.intensity is None and plan.training.intensity.value is None:
        doubts.append(
            "how the intensities of training volumes were scaled is not known (intensity): minimum "
            "and maximum of each volume are used to compare"
        )
    if declared.axes is None and plan.training.axes.value is None:
        doubts.append("the orientation is not known (axes): RAS is assumed")
    return doubts


def _format_rule(rule: Any) -> str:
    return " ".join(str(value) for value in rule.model_dump().values())
