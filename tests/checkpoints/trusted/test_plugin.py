"""A plug-in makes the volumes its networks make here, only when trusted, with its own hash."""

import shutil

import numpy as np
import psutil
import pytest

from napari_memscan.checkpoints.loading import load_checkpoint
from napari_memscan.checkpoints.trusted.trust_check import needs_trust, resolve_model_path
from napari_memscan.errors import BadInput
from napari_memscan.generators.ldm import LDMGenerator
from napari_memscan.generators.model_check import check_model, require_passed
from napari_memscan.generators.sample import GeneratedSample


def volume(generator, seed=3):
    drawn = generator.generate([seed], batch=1, precision="float32", memory="contiguous")
    return next(s for s in drawn if isinstance(s, GeneratedSample))


@pytest.fixture(scope="module")
def trusted(plug_in):
    generator = LDMGenerator(f"{plug_in}:make", "cpu", trust=True)
    yield generator
    generator.model.close()


def test_same_volume_as_the_native_path(trusted, tiny_ldm):
    native = volume(LDMGenerator(tiny_ldm, "cpu"))
    foreign = volume(trusted)
    assert native.volume.data.std() > 1
    assert np.allclose(foreign.volume.data, native.volume.data, rtol=0, atol=1e-5 * 1200)
    assert foreign.volume.spacing == native.volume.spacing


def test_the_same_seed_repeats_to_the_byte_and_another_differs(trusted):
    first, again, other = volume(trusted), volume(trusted), volume(trusted, 4)
    assert first.volume.data.tobytes() == again.volume.data.tobytes()
    assert first.volume.data.tobytes() != other.volume.data.tobytes()


def test_report_and_hashes(trusted):
    report = trusted.report
    assert report.trusted
    assert sorted(report.hashes) == ["autoencoder", "denoiser", "source my_model.py"]
    assert volume(trusted).checkpoint_hash == trusted.checkpoint_hash
    assert "latent_shape: (3, 8, 8, 8) (plug-in)" in report.lines()


def test_self_test_and_encoding_work(trusted, tiny_ldm):
    import torch

    require_passed(check_model(trusted), "plug-in")
    x = torch.rand((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        native = LDMGenerator(tiny_ldm, "cpu").model.encode_mean(x)
        foreign = trusted.model.encode_mean(x)
    assert torch.allclose(foreign, native, atol=1e-5)


def test_windows_are_decoded_too_and_other_precision_is_refused(trusted):
    settings = trusted.choose()
    assert (settings.batch, settings.precision, settings.decode) == (1, "float32", "whole")
    made = next(
        s
        for s in trusted.generate([3], decode="window:4x4x4:0.5")
        if isinstance(s, GeneratedSample)
    )
    assert made.volume.data.shape == (16, 16, 16)
    with pytest.raises(BadInput, match="precision 'bfloat16'"):
        trusted.choose(precision="bfloat16")


def test_without_trust_it_is_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "ran"
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(marker)!r}, 'w')\ndef make(): pass\n")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert "plug-in" in needs_trust(f"{path}:make")
    with pytest.raises(BadInput, match=r"not trusted.*runs code from the file, with your rights"):
        LDMGenerator(f"{path}:make", "cpu")
    with pytest.raises(BadInput, match="not trusted"):
        load_checkpoint(f"{path}:make")
    assert not marker.exists()
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before
    with pytest.raises(BadInput, match="without recipe, denoise, decode"):
        LDMGenerator(f"{path}:make", "cpu", trust=True)
    assert marker.exists()


def test_a_spec_that_holds_from_everywhere(tmp_path):
    here = str(tmp_path / "in" / "my.py")
    assert resolve_model_path("in/my.py:make", tmp_path) == f"{here}:make"
    assert resolve_model_path(f"{here}:make", "/") == f"{here}:make"
    assert resolve_model_path("package.module:make", tmp_path) == "package.module:make"
    assert resolve_model_path("in/my.py", tmp_path) == here
    assert resolve_model_path(tmp_path / "in", "/") == str(tmp_path / "in")


def test_the_file_alone_names_no_function(plug_in):
    assert "FUNCTION" in needs_trust(plug_in)
    with pytest.raises(BadInput, match=r"my_model\.py:FUNCTION"):
        LDMGenerator(plug_in, "cpu", trust=True)


LIGHT = """
class Model:
    recipe = {"latent_shape": (1, 4, 4, 4), "steps": 2,
              "preprocessing": {"shape": [8, 8, 8], "intensity": {"rule": "minmax"}}}
    def denoise(self, z, t, context=None):
        return z * 0.5 if context is None else z * 0.5 + context.mean()
    def decode(self, z):
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
def make():
    import helper
    return Model()
"""


def test_hash_follows_the_code_and_the_modules_beside_it(tmp_path):
    def opened(declared=None):
        generator = LDMGenerator(f"{tmp_path / 'light.py'}:make", "cpu", declared, trust=True)
        generator.model.close()
        return generator

    (tmp_path / "light.py").write_text(LIGHT)
    (tmp_path / "helper.py").write_text("")
    first = opened()
    assert opened().checkpoint_hash == first.checkpoint_hash
    assert sorted(first.report.files) == ["source helper.py", "source light.py"]
    assert "lists no files" in first.report.warnings[0]
    (tmp_path / "helper.py").write_text("# changed")
    assert opened().checkpoint_hash != first.checkpoint_hash
    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    for name in ("light.py", "helper.py"):
        shutil.copy(tmp_path / name, elsewhere)
    (elsewhere / "helper.py").write_text("")
    moved = LDMGenerator(f"{elsewhere / 'light.py'}:make", "cpu", trust=True)
    assert moved.checkpoint_hash == first.checkpoint_hash
    assert not (elsewhere / "__pycache__").exists()
    scaled = opened({"scale_factor": 2.0, "decoded_range": (-4, 4)})
    assert scaled.recipe.scale_factor == 2.0
    assert "scale_factor: 2.0 (declared)" in scaled.report.lines()
    assert scaled.recipe_hash != first.recipe_hash


def test_conditioning_reaches_the_plug_in(tmp_path):
    checks = (
        "assert (context == 8).all()",
        "assert context.shape == (2, 1, 1)",
        "return z * 0.5 if",
    )
    code = LIGHT.replace("return z * 0.5 if", "\n        ".join(checks))
    (tmp_path / "light.py").write_text(code)
    (tmp_path / "helper.py").write_text("")
    declared = {"decoded_range": (-50, 50), "context": (8.0,)}
    generator = LDMGenerator(f"{tmp_path / 'light.py'}:make", "cpu", declared, trust=True)
    made = [s for s in generator.generate([1, 2], batch=2) if isinstance(s, GeneratedSample)]
    assert [s.volume.data.std() > 0 for s in made] == [True, True]
    generator.model.close()


def test_a_module_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "lightmodule").mkdir()
    (tmp_path / "lightmodule" / "__init__.py").write_text("")
    (tmp_path / "lightmodule" / "mine.py").write_text(LIGHT.replace("import helper", "pass"))
    monkeypatch.chdir(tmp_path)
    generator = LDMGenerator("lightmodule.mine:make", "cpu", trust=True)
    assert sorted(generator.report.files) == ["source __init__.py", "source mine.py"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"steps": 2', '"steps": 0', "steps"),
        ('"steps": 2', '"autoencoder": {}', "'autoencoder', which is not known"),
        ('"latent_shape": (1, 4, 4, 4), ', "", "latent_shape: Field required"),
        ("class Model:", "class Model:\n    files = {'w': 'gone.pt'}", "gone.pt: no such file"),
        ('"steps": 2', '"steps": float("nan")', "JSON"),
        ('"steps": 2', '"steps": object()', "JSON"),
    ],
)
def test_a_recipe_that_does_not_do(tmp_path, old, new, words):
    assert old in LIGHT
    (tmp_path / "light.py").write_text(LIGHT.replace(old, new))
    (tmp_path / "helper.py").write_text("")
    with pytest.raises(BadInput, match=words):
        LDMGenerator(f"{tmp_path / 'light.py'}:make", "cpu", trust=True)
