"""Configurations are data: what can be worked out is, and nothing in them is ever run."""

import importlib
import json
import os
from pathlib import Path

import pytest
import torch

from napari_memscan.checkpoints.bundle_config import (
    BundleConfig,
    find_bundle_root,
    read_config,
    read_published_md5,
)
from napari_memscan.errors import BadInput

CONFIGS = Path(__file__).parent / "configs"
BRATS = CONFIGS / "brats/configs/inference.json"
BRAIN = CONFIGS / "brain/configs/inference.json"
MODULES = {
    "AutoencoderKlMaisi": "monai.apps.generation.maisi.networks.autoencoderkl_maisi",
    "DiffusionModelUNetMaisi": "monai.apps.generation.maisi.networks.diffusion_model_unet_maisi",
    "ControlNetMaisi": "monai.apps.generation.maisi.networks.controlnet_maisi",
}


def build(target):
    """Build a network or scheduler without memory for its weights."""
    scheduler = target.name.endswith("Scheduler")
    module = "monai.networks.schedulers" if scheduler else "monai.networks.nets"
    kind = getattr(importlib.import_module(MODULES.get(target.name, module)), target.name)
    arguments = dict(target.arguments)
    if "use_flash_attention" in arguments:
        arguments["use_flash_attention"] = False  # MONAI wants a GPU for it.
    if scheduler:
        return kind(**arguments)
    with torch.device("meta"):
        return kind(**arguments)


def parameters(network):
    return sum(value.numel() for value in network.state_dict().values())


def config(tmp_path, **data):
    return BundleConfig(data, tmp_path / "inference.json")


def targets(path):
    """Keys of a configuration's networks and schedulers."""
    for key, value in json.loads(path.read_text()).items():
        name = value.get("_target_", "") if isinstance(value, dict) else ""
        if ".networks." in name or name.endswith("RFlowScheduler"):
            yield key


@pytest.mark.parametrize(
    ("path", "key"),
    [
        pytest.param(path, key, id=f"{path.parts[-3]}-{path.stem}-{key}")
        for path in sorted(CONFIGS.rglob("*.json"))
        # That one needs a second file.
        if path.name != "train_diffusion.json"
        for key in targets(path)
    ],
)
def test_every_network_and_scheduler_builds(path, key):
    assert build(BundleConfig.read(path).target(key)) is not None


def test_a_training_configuration_of_two_files():
    folder = CONFIGS / "brats/configs"
    with pytest.raises(BadInput, match=r"no 'spatial_dims'.*both files"):
        BundleConfig.read(folder / "train_diffusion.json").target("network_def")
    both = BundleConfig.read(folder / "train_autoencoder.json", folder / "train_diffusion.json")
    assert parameters(build(both.target("network_def"))) == 189_325_576
    assert both.target("noise_scheduler").name == "DDPMScheduler"
    assert both.latent_shape() == (8, 36, 44, 28)
    with pytest.raises(BadInput, match="measure_scale"):
        both.resolve("scale_factor")


@pytest.mark.parametrize(
    ("path", "key", "millions", "keys"),
    [
        ("brats/configs/inference.json", "autoencoder_def", 21.000353, 130),
        ("brats/configs/inference.json", "network_def", 189.325576, 296),
        ("brain/configs/inference.json", "autoencoder_def", 13.8, None),
        ("brain/configs/inference.json", "diffusion_def", 553.2, None),
        ("brain-generative/configs/inference.json", "diffusion_def", 553.2, None),
        ("maisi-1.0/configs/inference.json", "autoencoder_def", 20.9, None),
        ("tutorial/config/config_train_16g.json", "autoencoder_def", 21.000353, 130),
    ],
)
def test_networks_have_the_published_size(path, key, millions, keys):
    network = build(BundleConfig.read(CONFIGS / path).target(key))
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=1e-7 if keys else 0.05)
    assert keys is None or len(network.state_dict()) == keys


def test_names_of_the_older_package_are_translated():
    old = BundleConfig.read(CONFIGS / "brain-generative/configs/inference.json").target(
        "diffusion_def"
    )
    new = BundleConfig.read(BRAIN).target("diffusion_def")
    assert (old.name, old.arguments) == (new.name, new.arguments)
    maisi = BundleConfig.read(CONFIGS / "maisi-1.0/configs/inference.json")
    assert maisi.target("autoencoder_def").arguments["num_channels"] == [64, 128, 256]
    assert maisi.target("noise_scheduler").name == "RFlowScheduler"


def test_a_class_for_objects_that_name_none():
    tutorial = BundleConfig.read(CONFIGS / "tutorial/config/config_train_16g.json")
    with pytest.raises(BadInput, match="no network or scheduler"):
        tutorial.target("NoiseScheduler")
    assert tutorial.target("NoiseScheduler", "DDPMScheduler").arguments["beta_end"] == 0.0195
    folder = CONFIGS / "medlord/configs"
    diffusion = BundleConfig.read(folder / "diffusion/medlord.yaml")
    stage1 = BundleConfig.read(folder / "stage1/vqgan_ds8_new.yaml")
    assert build(diffusion.target("model#params", "DiffusionModelUNet")) is not None
    vqvae = stage1.target("model::params", "VQVAE")
    assert build(vqvae) is not None
    assert vqvae.arguments["epsilon"] == 1e-5
    assert diffusion.resolve("training#scale_factor") == 1.11
    assert diffusion.resolve("optim#lr") == 1e-4
    assert diffusion.latent_shape() is None


def test_a_reference_to_a_network_is_followed():
    brain = BundleConfig.read(BRAIN)
    assert brain.target("network_def") == brain.target("autoencoder_def")


def test_requirements_are_left_out():
    scheduler = BundleConfig.read(BRATS).target("noise_scheduler")
    assert not any(key.startswith("_") for key in scheduler.arguments)
    assert "_requires_" not in BundleConfig.read(BRATS).resolve("noise_scheduler")


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("brats", (8, 36, 44, 28)),
        ("brain", (3, 20, 28, 20)),
        ("brain-generative", (3, 20, 28, 20)),
        ("maisi-0.4", (4, 128, 128, 128)),
        ("maisi-1.0", (4, 64, 64, 64)),
    ],
)
def test_latent_shapes(path, shape):
    assert BundleConfig.read(CONFIGS / path / "configs/inference.json").latent_shape() == shape


@pytest.mark.parametrize(
    ("noise", "shape"),
    [
        ("$torch.randn(1, 3, 4, 5, 6)", (3, 4, 5, 6)),
        ("$torch.randn([1, @channels, 4, 5, 6], device=@device)", (3, 4, 5, 6)),
        ("$torch.randn((2, 3))", None),
        ("$torch.randn((1, 3, 4, 5, -6))", None),
        ("$import torch", None),
        ("torch", None),
        (7, None),
        ("$" + "-" * 900 + "1", None),
    ],
)
def test_latent_shapes_in_the_noise(tmp_path, noise, shape):
    assert config(tmp_path, noise=noise, channels=3, device="$x()").latent_shape() == shape


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$@size[0]//4", 16),
        ("$@size[-1] % 5", 2),
        ("$[1] + @size[:2]", [1, 64, 48]),
        ("$tuple(@size)", (64, 48, 32)),
        ("$max(@size) - min(@size)", 32),
        ("$int(@size::1 / 5)", 9),
        ("$float(-len(@size)) * +2", -6.0),
        ("$@root + '/models'", "./models"),
        ("$@inner#deep::0", 5),
        ("$@inner['deep'][0]", 5),
        ("$(1, None, True, 'a')", (1, None, True, "a")),
        ("${'a': 1}", {"a": 1}),
        ("$list((1, 2))", [1, 2]),
        ("%size", [64, 48, 32]),
        ("@inner", {"deep": [5]}),
        ("a @size % b", "a @size % b"),
    ],
)
def test_plain_expressions(tmp_path, expression, value):
    here = config(tmp_path, root=".", size=[64, 48, 32], inner={"deep": ["$2 + 3"]}, x=expression)
    assert here.resolve("x") == value
    assert type(here.resolve("x")) is type(value)


HOSTILE = [
    "$import os",
    "$__import__('os').mkdir('MARK')",
    "$open('MARK', 'w')",
    "$exec('1')",
    "$eval('1')",
    "$().__class__.__base__.__subclasses__()",
    "$(lambda: 1)()",
    "$[x for x in (1,)]",
    "$f'{@size}'",
    "$'%s' % 1",
    "$2**62",
    "$'a' * 9",
    "$@size * 2",
    "$(y := 1)",
    "$1 if 1 else 2",
    "$not 1",
    "$~1",
    "$1 << 2",
    "$True + 1",
    "$-True",
    "$b'x'",
    "$1j",
    "$...",
    "${'a': 1, **{'b': 2}}",
    "$[*@size]",
    "$size",
    "$@size.append(1)",
    "$@size(1)",
    "$'@size'",
    "$_memscan_reference_0",
    "$int('7')",
    "$int(7, 8)",
    "$max(@size, key=len)",
    "$list('abc')",
    "$@size['a']",
    "$@size[9]",
    "$@size[::0]",
    "$1[0]",
    "${[]: 1}",
    "$1 // 0",
    "$1 + '1'",
    "$min([])",
    "$max(1, (2,))",
    "$9999999999999999999",
    "$1e308 * 10",
    "$4611686018427387904 * 4",
    "$",
    "$1\0",
    "$" + "(" * 500 + ")" * 500,
    "$" + "-" * 900 + "1",
    "$" + "1+" * 600 + "1",
    "@missing",
    "@size#3",
    "@size#a",
    "@",
    "@#size",
    "%other.json::size",
    "$@self_ + 1",
]


@pytest.mark.parametrize("expression", HOSTILE, ids=lambda text: repr(text[:24]))
def test_everything_else_is_refused_and_does_nothing(tmp_path, monkeypatch, expression):
    monkeypatch.chdir(tmp_path)
    here = config(tmp_path, size=[1, 2], x=expression, good=["@size", "$1 + 1"])
    with pytest.raises(BadInput, match=r"inference\.json: key 'x'"):
        here.resolve("x")
    for attempt in (here.weight_files, here.latent_shape):
        attempt()
    assert here.resolve("good") == [[1, 2], 2]
    assert list(tmp_path.iterdir()) == []


def test_the_message_says_what_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"'\$print\(1\)'.*does not run code"):
        config(tmp_path, a="@b", b="$print(1)").resolve("a")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**63, -(2**63), 10**400, {1, 2}])
def test_values_that_are_no_plain_data(tmp_path, value):
    with pytest.raises(BadInput, match=r"number|set"):
        config(tmp_path, a=value).resolve("a")


def test_cycles_and_long_chains(tmp_path):
    here = config(
        tmp_path,
        a="@b",
        b=["$@c + 1"],
        c="@a",
        d="@d",
        fine={"x": "@other#y"},
        other={"y": "@fine#z"},
        **{"fine2": 1},
    )
    for key in ("a", "b", "c", "d"):
        with pytest.raises(BadInput, match="refers to itself"):
            here.resolve(key)
    with pytest.raises(BadInput, match="refers to itself"):
        here.target("d")
    chain = {f"k{i}": f"@k{i + 1}" for i in range(60)} | {"k60": 1}
    with pytest.raises(BadInput, match="50 references"):
        config(tmp_path, **chain).resolve("k0")
    assert config(tmp_path, **chain).resolve("k20") == 1


def test_a_configuration_that_multiplies_itself(tmp_path):
    lists = {f"k{i}": [f"@k{i + 1}"] * 9 for i in range(20)} | {"k20": [1]}
    with pytest.raises(BadInput, match="more than 100,000 values"):
        config(tmp_path, **lists).resolve("k0")
    text = {f"k{i}": f"$@k{i + 1} + @k{i + 1}" for i in range(40)} | {"k40": "x" * 4000}
    with pytest.raises(BadInput, match="does not run code"):
        config(tmp_path, **text).resolve("k30")
    deep = value = []
    for _ in range(5000):
        value.append([])
        value = value[0]
    with pytest.raises(BadInput, match="too deeply"):
        config(tmp_path, a=deep).resolve("a")


@pytest.mark.parametrize(
    "target",
    [
        {"_target_": "os.system", "command": "touch MARK"},
        {"_target_": "scripts.ldm_sampler.LDMSampler"},
        {"_target_": "monai.networks.nets.UNet"},
        {"_target_": "monai.networks.nets.a.b.AutoencoderKL"},
        {"_target_": "evil.AutoencoderKL"},
        {"_target_": ".AutoencoderKL"},
        {"_target_": "$'AutoencoderKL'"},
        {"_target_": ["AutoencoderKL"]},
        {"channels": [1]},
        "text",
        None,
    ],
)
def test_classes_that_are_not_on_the_list(tmp_path, target):
    with pytest.raises(BadInput, match=r"key 'net'.*builds only these classes.*DDIMScheduler"):
        config(tmp_path, net=target).target("net")


def test_arguments_are_plain_values(tmp_path):
    net = {
        "_target_": "AutoencoderKL",
        "use_checkpointing": False,
        "act": {"_target_": "builtins.open"},
    }
    with pytest.raises(BadInput, match="component as an argument"):
        config(tmp_path, net=net).target("net")
    assert config(tmp_path, net=net).resolve("net#act") == {"_target_": "builtins.open"}
    net["act"] = "@activation"
    found = config(tmp_path, net=net, activation=["RELU", {"inplace": True}]).target("net")
    assert found.arguments == {"use_checkpoint": False, "act": ["RELU", {"inplace": True}]}


def names(config):
    root = find_bundle_root(config.path).resolve()
    return {key: path.relative_to(root).as_posix() for key, path in config.weight_files().items()}


def test_weight_files_of_the_families():
    assert names(BundleConfig.read(BRATS)) == {
        "load_autoencoder_path": "models/model_autoencoder.pt",
        "load_diffusion_path": "models/model.pt",
    }
    assert names(BundleConfig.read(CONFIGS / "brain-generative/configs/inference.json")) == {
        "load_autoencoder_path": "models/autoencoder.pth",
        "load_diffusion_path": "models/diffusion_model.pth",
    }
    maisi = names(BundleConfig.read(CONFIGS / "maisi-1.0/configs/inference.json"))
    assert maisi["trained_diffusion_path"] == "models/diff_unet_ckpt_epoch19350.pt"
    folder = CONFIGS / "nv-generate/configs"
    assert names(BundleConfig.read(folder / "environment_maisi_diff_model_rflow-mr.json")) == {
        "model_filename": "models/diff_unet_3d_rflow-mr.pt",
        "trained_autoencoder_path": "models/autoencoder_v2.pt",
        "existing_ckpt_filepath": "models/diff_unet_3d_rflow-mr.pt",
    }
    training = BundleConfig.read(CONFIGS / "brats/configs/train_diffusion.json")
    assert names(training) == {"load_autoencoder_path": "models/model_autoencoder.pt"}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a.pt", "a.pt"),
        ("$torch.load('models/a.pth', weights_only=False)", "models/a.pth"),
        ("$torch.load(@bundle_root + '/m/' + 'a.safetensors')", "m/a.safetensors"),
        ("$str(Path(@bundle_root)) + '/m/a.pt'", "m/a.pt"),
        ("$Path(@bundle_root) / 'm' / 'a.pt'", "a.pt"),
        ({"_target_": "CheckpointLoader", "load_path": "./m/a.pt"}, "m/a.pt"),
        ("https://example.org/a.pt", None),
        ("$@name + '.pt'", None),
        ("$import 'a.pt'", None),
        ("weights.bin", None),
        (None, None),
    ],
)
def test_weight_files_in_expressions(tmp_path, value, name):
    here = config(tmp_path, bundle_root="/elsewhere", load_model=value, run="$save('out.pt')")
    assert names(here) == ({} if name is None else {"load_model": name})


@pytest.mark.parametrize(
    "name",
    [
        "../a.pt",
        "models/../../a.pt",
        "/etc/a.pt",
        "~/a.pt",
        "C:\\a.pt",
        "..\\a.pt",
        "\\\\host\\a.pt",
        "link/a.pt",
        "linked.pt",
        "a\0b.pt",
        "$'/etc' + '/a.pt'",
        "$open('/etc/a.pt')",
        "$@outside + '/a.pt'",
    ],
)
def test_weight_files_stay_inside(tmp_path, name):
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (tmp_path / "a.pt").touch()
    (root / "link").symlink_to(tmp_path)
    (root / "linked.pt").symlink_to(tmp_path / "a.pt")
    here = BundleConfig({"load_path": name, "outside": ".."}, root / "configs/inference.json")
    with pytest.raises(BadInput, match=r"key 'load_path' names.*leads out of"):
        here.weight_files()


def test_the_folder_of_a_bundle(tmp_path):
    for name in ("configs/inference.json", "config/train.json", "configs/diffusion/medlord.yaml"):
        assert find_bundle_root(tmp_path / name) == tmp_path
    assert find_bundle_root(tmp_path / "model.json") == tmp_path
    (tmp_path / "configs").mkdir()
    assert find_bundle_root(tmp_path) == find_bundle_root(tmp_path / "configs") == tmp_path


def test_promised_sums(tmp_path):
    assert read_published_md5(CONFIGS / "brats") == {
        "models/model_autoencoder.pt": "00112233445566778899aabbccddeeff",
        "models/model.pt": "ffeeddccbbaa99887766554433221100",
    }
    assert read_published_md5(CONFIGS / "brain-generative") == {}
    assert read_published_md5(tmp_path) == {}
    (tmp_path / "large_files.yml").write_text("large_files: {a: 1}\n")
    assert read_published_md5(tmp_path) == {}
    (tmp_path / "large_files.yml").write_text("large_files: [\n")
    with pytest.raises(BadInput, match="YAML"):
        read_published_md5(tmp_path)


BOMB = "a: &a [1, 1]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b"{", "JSON"),
        ("a.json", b"[1]", "holds a list"),
        ("a.yaml", b"", "NoneType"),
        ("a.json", b"\xff\xfe", "JSON"),
        ("a.json", b'{"a": "' + b"x" * 2_000_000 + b'"}', "2 MB"),
        ("a.json", b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "deeper than 50"),
        ("a.json", b'{"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "JSON"),
        ("a.json", b'{"a": [' + b"1," * 100_001 + b"1]}", "100,000"),
        ("a.json", b'{"a": ' + b"9" * 9000 + b"}", "JSON"),
        ("a.yaml", BOMB.encode(), "alias"),
        ("a.yaml", b"a: &a [*a]", "alias"),
        ("a.yml", b"a: !!python/object/apply:os.system ['touch MARK']", "tag"),
        ("a.yaml", b"a: !!timestamp x", "tag"),
        ("a.yaml", b"a: " + b"[" * 60 + b"]" * 60, "too deep"),
        ("a.yaml", b"a: 1" + b":1" * 900_000, "longer than"),
        ("a.yaml", b"a: 2001-99-99", "YAML"),
        ("a.yaml", b"a: 1\n---\nb: 1", "YAML"),
        ("a.yaml", b"{[]: 1}", "YAML"),
        ("a.yaml", b"a: " + b"9" * 9000, "YAML"),
    ],
)
def test_files_that_are_refused(tmp_path, monkeypatch, name, content, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=why) as caught:
        read_config(tmp_path / name)
    assert len(str(caught.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_missing_and_marked_files(tmp_path):
    with pytest.raises(BadInput, match=r"none\.json.*Choose the file"):
        read_config(tmp_path / "none.json")
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_config(tmp_path / "a.json") == {"a": 1}
    assert "a" in BundleConfig.read(tmp_path / "a.json")


PUBLISHED = os.environ.get("MEMSCAN_PUBLISHED_CONFIGS")


@pytest.mark.skipif(PUBLISHED is None, reason="MEMSCAN_PUBLISHED_CONFIGS names no folder")
def test_published_configurations_build():
    built = 0
    for path in sorted(Path(PUBLISHED or "").rglob("configs/*.json")):
        if path.name.startswith("train_diffusion") or '"_target_"' not in path.read_text():
            continue
        here = BundleConfig.read(path)
        for key in targets(path):
            if "discriminator" not in key:
                assert build(here.target(key)) is not None
                built += 1
        here.weight_files()
        here.latent_shape()
    assert built > 0
