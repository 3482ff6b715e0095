#!/usr/bin/env bash
# MONAI's ResNet takes MedicalNet's weights to the last name and is another network
#
# One would guess: MONAI names MedicalNet as the source of its pretrained 3D ResNets and checks the
# arguments that its weights need (one channel, no head, shortcut and bias), so with these arguments
# and a strict load it computes MedicalNet's features.
# What happens: stride and dilation have no weights. MedicalNet begins with a stride of 2 and keeps
# the resolution of its last two stages, with kernels spread by 2 and 4; MONAI's begins with a
# stride of 1 and halves twice more, and has no argument for dilation. All names and shapes match.
# Of 64^3 voxels MedicalNet makes a map of 8^3, MONAI one of 4^3 (2^3 with conv1_t_stride=2), and
# the pooled vectors are off by 0.60 (0.37) of their own length.
# Version: monai 1.6.1; medmetric 0.1.1, whose network is MedicalNet's; torch 2.13.0; random
# weights.
# Source: ResNet of monai/networks/nets/resnet.py, get_medicalnet_pretrained_resnet_args there;
# MedicalNetResNet of medmetric/models/resnet.py; MedicalNet: Chen et al. 2019, arXiv 1904.00625.
set -euo pipefail
. "$(dirname "$0")/_fresh.sh" torch==2.13.0 monai==1.6.1 medmetric==0.1.1 huggingface_hub==2.4.0 \
  numpy==2.4.6

"${python[@]}" - <<'END'
from importlib.metadata import version

import torch
from medmetric.models.resnet import medicalnet_resnet
from monai.networks.nets import resnet
from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args

torch.manual_seed(0)
volume = torch.randn(1, 1, 64, 64, 64)
theirs = medicalnet_resnet("BasicBlock", [1, 1, 1, 1], pooled=False).eval()
bias, shortcut = get_medicalnet_pretrained_resnet_args(10)
print(*(f"{name} {version(name)}" for name in ("monai", "medmetric", "torch")), sep=", ")


@torch.no_grad()
def features(stride):
    """Return the last feature map of MONAI's network, and what loading said."""
    net = resnet.resnet10(
        spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type=shortcut,
        bias_downsample=bias, conv1_t_stride=stride,
    ).eval()  # fmt: skip
    said = net.load_state_dict(theirs.state_dict(), strict=True)
    kept = []
    net.layer4.register_forward_hook(lambda module, given, made: kept.append(made))
    net(volume)
    return kept[0], said


with torch.no_grad():
    expected = theirs(volume)
vector = expected.mean((2, 3, 4))
print("MedicalNet:", tuple(expected.shape[2:]), "of", tuple(volume.shape[2:]))
for stride, side in ((1, 4), (2, 2)):
    got, said = features(stride)
    off = ((got.mean((2, 3, 4)) - vector).norm() / vector.norm()).item()
    print(f"MONAI, conv1_t_stride {stride}: {tuple(got.shape[2:])}, {said}, off by {off:.2f}")
    if expected.shape[2:] != (8, 8, 8) or got.shape[2:] != (side, side, side) or off < 0.3:
        raise SystemExit("CHANGED: the feature maps are not those described")
print("as described: a strict load, and other features")
END
