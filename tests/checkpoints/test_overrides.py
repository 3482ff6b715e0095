"""What a user states about a model."""

import pytest

from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.errors import BadInput
from napari_memscan.volumes.preprocessing import Percentile, Window


def test_texts_become_values():
    declared = ModelOverrides.parse(
        [
            "latent_shape=8,36,44,28",
            "scale_factor=0.9",
            "axes=SRA",
            "spacing=1.1, 1.1, 2",
            "sampler=ddpm",
            "autoencoder=a/b.ckpt",
            "class_label=9",
            "decoded_range=[-1, 1]",
        ]
    )
    assert declared.latent_shape == (8, 36, 44, 28)
    assert declared.scale_factor == 0.9
    assert declared.spacing == (1.1, 1.1, 2)
    assert (declared.axes, declared.sampler, declared.autoencoder) == ("SRA", "ddpm", "a/b.ckpt")
    assert declared.decoded_range == (-1, 1)
    assert ModelOverrides.from_mapping(declared.to_dict()) == declared
    assert "steps" not in declared.to_dict()


def test_intensity_is_said_as_in_new():
    low_high = ModelOverrides.parse(["intensity=window:-1000:400"])
    assert low_high.intensity == Window(low=-1000, high=400)
    assert ModelOverrides.parse(["intensity=percentile:0:99.5"]).intensity == Percentile(
        low=0, high=99.5
    )


def test_paths_are_made_absolute_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vq.ckpt").touch()
    declared = ModelOverrides(autoencoder="vq.ckpt", denoiser="models/a.pt", steps=5).absolute()
    assert declared.denoiser == "models/a.pt"  # Inside the model's folder.
    assert declared.autoencoder == str((tmp_path / "vq.ckpt").resolve())
    assert declared.steps == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent_shape", "NAME=VALUE is expected"),
        ("latent=8", "Known names: .*latent_shape"),
        ("latent_shape=8,8", "latent_shape"),
        ("scale_factor=-1", "scale_factor"),
        ("scale_factor=NaN", "scale_factor"),
        ("axes=RAR", "axes 'RAR'"),
        ("steps=many", "steps"),
        ("intensity=window:9:1", "below its high"),
    ],
)
def test_what_does_not_fit_is_said(text, message):
    with pytest.raises(BadInput, match=message):
        ModelOverrides.parse([text])
