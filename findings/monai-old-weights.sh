#!/usr/bin/env bash
# MONAI takes weights of monai-generative without a word and computes something else
#
# One would guess: load_old_state_dict brings weights of monai-generative into the network of the
# same arguments; the network then computes what the old one did, or loading fails.
# What happens: the old attention block has a projection proj_attn that was never applied. Whether
# the new one applies it depends on include_fc, which is on by default. For an autoencoder with
# attention and for a denoiser without cross-attention the default puts untrained numbers to use:
# nothing is refused, nothing said, and the output is another one. With cross-attention it is the
# other way round: the default is right, and include_fc=False drops a projection that was in use.
# Version: monai 1.6.1, monai-generative 0.2.3, torch 2.13.0.
# Source: AutoencoderKL.load_old_state_dict and DiffusionModelUNet.load_old_state_dict of MONAI;
# AttentionBlock.forward of monai-generative, which does not call proj_attn.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" torch==2.13.0 monai==1.6.1 monai-generative==0.2.3 einops==0.8.2 \
  numpy==2.4.6

"${python[@]}" - <<'END'
import copy

import monai
import torch
from generative.networks import nets as old
from monai.networks import nets as new

BASE = {"spatial_dims": 3, "num_res_blocks": 1, "norm_num_groups": 4}
BASE |= {"attention_levels": (False, True)}
CASES = {
    "autoencoder with attention": (
        "AutoencoderKL",
        BASE | {"in_channels": 1, "out_channels": 1, "latent_channels": 3},
        lambda net, z: net.decode(z),
    ),
    "denoiser": (
        "DiffusionModelUNet",
        BASE | {"in_channels": 3, "out_channels": 3, "num_head_channels": (0, 4)},
        lambda net, z: net(z, torch.tensor([5])),
    ),
    "denoiser with cross-attention": (
        "DiffusionModelUNet",
        BASE | {"in_channels": 3, "out_channels": 3, "num_head_channels": (0, 4)}
        | {"with_conditioning": True, "cross_attention_dim": 4},
        lambda net, z: net(z, torch.tensor([5]), context=torch.ones(1, 2, 4)),
    ),
}  # fmt: skip


@torch.no_grad()
def compare(kind, arguments, run):
    """Return how far each setting of include_fc is off with the same old weights."""
    torch.manual_seed(0)
    before = getattr(old, kind)(num_channels=(8, 8), **arguments).eval()
    for parameter in before.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    z = torch.randn(1, 3, 4, 4, 4)
    expected = run(before, z)
    answers = {}
    for fc in ({}, {"include_fc": True}, {"include_fc": False}):
        net = getattr(new, kind)(channels=(8, 8), **arguments, **fc).eval()
        net.load_old_state_dict(copy.deepcopy(before.state_dict()))
        error = ((run(net, z) - expected).abs().max() / expected.abs().mean()).item()
        flag = fc.get("include_fc", "default")
        answers[flag] = error
        print(f"    include_fc {flag}: largest error {error:.1e} of the mean output")
    return answers


print(f"monai {monai.__version__}, torch {torch.__version__}, monai-generative 0.2.3")
for name, case in CASES.items():
    print(f"{name}:")
    off = compare(*case)
    right = name.endswith("cross-attention")
    if off["default"] != off[True]:
        raise SystemExit(f"CHANGED: {name}: include_fc is no longer on by default")
    if not off[right] < 1e-4:
        raise SystemExit(f"CHANGED: {name}: include_fc {right} is no longer exact")
    if not off[not right] > 1e-3:
        raise SystemExit(f"CHANGED: {name}: include_fc {not right} is no longer wrong")
print("as described: which flag is right depends on the network, and the wrong one is not refused")
END
