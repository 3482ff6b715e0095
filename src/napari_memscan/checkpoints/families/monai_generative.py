"""Names of monai-generative's networks to those of MONAI >= 1.4.

The old attention block holds a projection ``proj_attn`` that it never applies. MONAI's own
conversion puts it to use in some versions and with some flags, and then the network computes
something else without any error. So here: an own table, the flag that fits (``include_fc``), and
nothing may be left over but ``proj_attn``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput

_UNUSED_PROJECTION = re.compile(
    r"(^|\.)(attentions\.\d+|attention|blocks\.\d+)\.proj_attn\.(weight|bias)$"
)
_AUTOENCODER_RULES = (
    (r"^((?:encoder|decoder)\.blocks\.\d+)\.(to_[qkv])\.", r"\1.attn.\2."),
    (r"^(decoder\.blocks\.\d+)\.conv\.conv\.", r"\1.postconv.conv."),
)
_DENOISER_RULES = (
    (r"((?:attentions\.\d+|middle_block\.attention))\.(to_[qkv])\.", r"\1.attn.\2."),
    (r"(transformer_blocks\.\d+\.attn\d)\.to_out\.0\.", r"\1.out_proj."),
    (r"(upsampler)\.conv\.conv\.", r"\1.postconv.conv."),
)


def is_legacy(state: StateDict) -> bool:
    """Return whether any name is monai-generative's and not MONAI's."""
    return any(
        _UNUSED_PROJECTION.search(name)
        or re.search(r"\.to_out\.0\.|upsampler\.conv\.conv\.", name)
        or re.search(r"^decoder\.blocks\.\d+\.conv\.conv\.", name)
        for name in state.tensors
    )


def _drop_unused(state: StateDict) -> StateDict:
    """Leave out the projections that were never applied; every attention block has one, or none."""
    blocks = {
        name.removesuffix(".to_q.weight")
        for name in state.tensors
        if name.endswith(".to_q.weight") and ".transformer_blocks." not in name
    }
    unused = [name for name in state.tensors if _UNUSED_PROJECTION.search(name)]
    wanted = {f"{block}.proj_attn.{end}" for block in blocks for end in ("weight", "bias")}
    if unused and set(unused) != wanted:
        odd = sorted(wanted.symmetric_difference(unused))
        raise BadInput(
            f"these weights are named as monai-generative's, whose attention blocks all have "
            f"proj_attn, but {odd[0]} is {'missing' if odd[0] in wanted else 'there alone'}. The "
            "file was changed or is damaged; use it as the training wrote it."
        )
    return state.without(unused)


def rename_autoencoder(
    state: StateDict, arguments: Mapping[str, Any]
) -> tuple[StateDict, dict[str, Any]]:
    """Return an AutoencoderKL's state under MONAI's names, and the arguments that fit it.

    Parameters
    ----------
    state : StateDict
        Legacy or current names; current ones stay.
    arguments : dict
        Of ``AutoencoderKL``.
    """
    arguments = dict(arguments)
    if is_legacy(state):
        arguments |= {"include_fc": False, "use_combined_linear": False}
        state = _drop_unused(state).rename(_AUTOENCODER_RULES)
    elif "include_fc" not in arguments:
        arguments["include_fc"] = any(".attn.out_proj." in name for name in state.tensors)
    return state, arguments


def rename_denoiser(
    state: StateDict, arguments: Mapping[str, Any]
) -> tuple[StateDict, dict[str, Any]]:
    """Return a DiffusionModelUNet's state under MONAI's names, and the arguments that fit it."""
    arguments = dict(arguments)
    if is_legacy(state):
        conditioned = bool(arguments.get("with_conditioning", False))
        arguments |= {"include_fc": conditioned, "use_combined_linear": False}
        state = _drop_unused(state).rename(_DENOISER_RULES)
    elif "include_fc" not in arguments:
        arguments["include_fc"] = any(".out_proj." in name for name in state.tensors)
    return state, arguments
