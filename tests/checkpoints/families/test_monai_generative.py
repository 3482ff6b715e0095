"""Weights of monai-generative compute in MONAI's networks what they computed in their own."""

import pytest
import torch

from napari_memscan.checkpoints.families.monai_generative import (
    is_legacy,
    rename_autoencoder,
    rename_denoiser,
)
from napari_memscan.checkpoints.networks import build_autoencoder, build_denoiser, load_strict
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput

pytest.importorskip("generative", reason="monai-generative is a test extra")
from generative.networks.nets import AutoencoderKL, DiffusionModelUNet

AUTOENCODER = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "num_res_blocks": 1,
    "norm_num_groups": 4,
}
DENOISER = {
    "spatial_dims": 3,
    "in_channels": 3,
    "out_channels": 3,
    "num_res_blocks": 1,
    "attention_levels": (False, True),
    "norm_num_groups": 4,
    "num_head_channels": (0, 4),
}
CONDITIONED = {"with_conditioning": True, "cross_attention_dim": 4, "transformer_num_layers": 1}


def randomised(network, seed=0):
    """Give every parameter a value: a fresh U-Net ends in zeros, and so would every comparison."""
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=random) * 0.1
        parameter.data = noise + 0.1 * (parameter.ndim == 1)
    return network.eval()


def ours(arguments):
    return {("channels" if k == "num_channels" else k): v for k, v in arguments.items()}


def state_of(network):
    return StateDict(dict(network.state_dict()))


def near(a, b):
    assert a.std() > 1e-3
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def autoencoder(levels, nonlocal_):
    arguments = AUTOENCODER | {
        "num_channels": (8, 16),
        "attention_levels": levels,
        "with_encoder_nonlocal_attn": nonlocal_,
        "with_decoder_nonlocal_attn": nonlocal_,
    }
    return arguments, randomised(AutoencoderKL(**arguments))


@pytest.mark.parametrize("stated", [{}, {"include_fc": True}, {"include_fc": False}])
@pytest.mark.parametrize(
    ("levels", "nonlocal_"), [((False, False), False), ((False, True), False), ((True, True), True)]
)
def test_an_autoencoder_encodes_and_decodes_as_before(levels, nonlocal_, stated):
    arguments, old = autoencoder(levels, nonlocal_)
    state, fitting = rename_autoencoder(state_of(old), ours(arguments) | stated)
    assert is_legacy(state_of(old))
    assert fitting["include_fc"] is False
    attention = nonlocal_ or any(levels)
    assert bool(state.unused) == attention
    assert all(".proj_attn." in name for name in state.unused)
    new = build_autoencoder(fitting)
    load_strict(new, state.tensors, "here")
    random = torch.Generator().manual_seed(1)
    x, z = (
        torch.randn(1, 1, 8, 8, 4, generator=random),
        torch.randn(1, 3, 4, 4, 2, generator=random),
    )
    with torch.no_grad():
        near(new.decode(z), old.decode(z))
        near(new.encode(x)[0], old.encode(x)[0])


@pytest.mark.parametrize("stated", [{}, {"include_fc": True}, {"include_fc": False}])
@pytest.mark.parametrize("updown", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_denoiser_predicts_as_before(conditioned, updown, stated):
    arguments = DENOISER | {"num_channels": (8, 16), "resblock_updown": updown}
    arguments |= CONDITIONED if conditioned else {}
    old = randomised(DiffusionModelUNet(**arguments))
    state, fitting = rename_denoiser(state_of(old), ours(arguments) | stated)
    # Self-attention has an unused projection there; cross-attention has one that is used.
    assert fitting["include_fc"] is conditioned
    assert bool(state.unused) != conditioned
    new = build_denoiser(fitting)
    load_strict(new, state.tensors, "here")
    random = torch.Generator().manual_seed(1)
    x, t = torch.randn(1, 3, 4, 4, 2, generator=random), torch.tensor([7])
    context = {"context": torch.rand(1, 1, 4, generator=random)} if conditioned else {}
    with torch.no_grad():
        near(new(x, t, **context), old(x, t, **context))


def test_what_monai_itself_does_with_the_default_flag_is_another_network():
    # The reason for the own table; when MONAI changes, this says so.
    arguments = DENOISER | {"num_channels": (8, 16)}
    old = randomised(DiffusionModelUNet(**arguments))
    wrong = build_denoiser(ours(arguments))
    wrong.load_old_state_dict(dict(old.state_dict()))
    x, t = torch.randn(1, 3, 4, 4, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([7])
    with torch.no_grad():
        assert (wrong(x, t) - old(x, t)).abs().max() > 1e-3


def test_a_projection_that_only_some_blocks_have_is_refused():
    arguments, old = autoencoder((True, True), True)
    state = state_of(old)
    name = next(name for name in state.tensors if "proj_attn" in name)
    del state.tensors[name]
    with pytest.raises(BadInput, match=r"proj_attn.* is missing"):
        rename_autoencoder(state, ours(arguments))
    state.tensors[name] = torch.zeros(16)
    state.tensors["decoder.blocks.99.proj_attn.weight"] = torch.zeros(16)
    with pytest.raises(BadInput, match="is there alone"):
        rename_autoencoder(state, ours(arguments))


def test_a_used_projection_that_is_missing_does_not_fit():
    arguments = DENOISER | {"num_channels": (8, 16)} | CONDITIONED
    state = state_of(randomised(DiffusionModelUNet(**arguments)))
    name = next(name for name in state.tensors if name.endswith("attn2.to_out.0.weight"))
    del state.tensors[name]
    renamed, fitting = rename_denoiser(state, ours(arguments))
    with pytest.raises(BadInput, match=r"missing: .*attn2\.out_proj\.weight"):
        load_strict(build_denoiser(fitting), renamed.tensors, "here")


@pytest.mark.parametrize("included", [True, False])
def test_current_names_stay_and_tell_the_flag(included):
    arguments = ours(DENOISER) | {"channels": (8, 16)}
    state = state_of(randomised(build_denoiser(arguments | {"include_fc": included})))
    renamed, fitting = rename_denoiser(state, arguments)
    assert not is_legacy(state)
    assert (renamed.renamed, renamed.unused) == (0, [])
    assert fitting == arguments | {"include_fc": included}


@pytest.mark.parametrize("included", [True, False])
def test_a_flag_that_is_stated_wrongly_for_current_names_does_not_fit(included):
    arguments = ours(DENOISER) | {"channels": (8, 16)}
    state = state_of(randomised(build_denoiser(arguments | {"include_fc": included})))
    renamed, fitting = rename_denoiser(state, arguments | {"include_fc": not included})
    with pytest.raises(BadInput, match="out_proj"):
        load_strict(build_denoiser(fitting), renamed.tensors, "here")
