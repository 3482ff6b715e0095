"""The script that makes the demo's checkpoints makes an LDM and an embedder of that kind."""

from __future__ import annotations

from functools import partial

from napari_memscan.checkpoints.loading import describe_checkpoint
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.demo import build


def test_it_trains_all_three_parts_and_goes_on(monkeypatch, tmp_path, capsys):
    for name in ("AUTOENCODER", "DENOISER", "EMBEDDER"):
        few = {"steps": 2, "batch": 2, "validate_every": 1}
        monkeypatch.setattr(build, name, getattr(build, name).model_copy(update=few))
    cohort = partial(build.write_phantom_cohort, n_training=3, n_validation=2, n_unseen=1)
    monkeypatch.setattr(build, "write_phantom_cohort", cohort)
    build.build_checkpoints(tmp_path)
    assert "embedder 2/2: loss" in capsys.readouterr().out
    assert describe_checkpoint(tmp_path / "checkpoints" / "ldm").startswith("3D LDM")
    shipped = read_recipe(tmp_path / "checkpoints" / "embedder")
    assert shipped.working_shape == (16, 16, 16)
    build.build_checkpoints(tmp_path)
    assert "2/2" not in capsys.readouterr().out
