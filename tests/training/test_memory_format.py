"""Layout in memory: the same numbers and names, and nothing is converted on the way."""

from __future__ import annotations

import torch
from torch import nn

from napari_memscan.checkpoints.networks import build_autoencoder
from napari_memscan.training.memory_format import use_channels_last
from napari_memscan.training.settings import AutoencoderSettings


def last(value: torch.Tensor) -> bool:
    return value.is_contiguous(memory_format=torch.channels_last_3d)


def test_an_autoencoder_computes_the_same_with_channels_last_throughout():
    torch.manual_seed(0)
    arguments = AutoencoderSettings(channels=(8, 16)).arguments()
    plain, ours = build_autoencoder(arguments), build_autoencoder(arguments)
    ours.load_state_dict(plain.state_dict())
    use_channels_last(ours)
    assert list(ours.state_dict()) == list(plain.state_dict())
    layouts = []
    for module in ours.modules():
        if isinstance(module, nn.Conv3d | nn.GroupNorm):
            module.register_forward_hook(lambda *called: layouts.append(last(called[2])))
    volumes = torch.rand(2, 1, 8, 12, 8)
    outputs = [net.decode(net.encode(volumes)[0]) for net in (plain, ours)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    assert len(layouts) > 10
    assert all(layouts)
    for output in outputs:
        output.square().mean().backward()
    for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-6)


def test_only_convolutions_over_single_voxels_become_products():
    network = nn.Sequential(
        nn.Conv3d(4, 6, 1, bias=False),
        nn.Conv3d(6, 6, 1, stride=2),
        nn.Conv3d(6, 6, 1, padding=1),
        nn.Conv3d(6, 6, 1, groups=2),
    )
    volumes = torch.rand(1, 4, 4, 6, 4)
    before = network(volumes)
    use_channels_last(network)
    assert [type(module) is nn.Conv3d for module in network] == [False, True, True, True]
    torch.testing.assert_close(network(volumes), before)
