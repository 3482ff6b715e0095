"""Which configurations and weight files of a folder make one model of MAISI or NV-Generate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.bundle_config import BundleConfig, ConfigTarget
from napari_memscan.checkpoints.families.monai_config import (
    find_stated_file,
    format_origin,
    list_configs,
    matches_part,
    read_class_name,
)
from napari_memscan.checkpoints.families.training_transforms import SourcedValue
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.state_dicts import StateDict
from napari_memscan.errors import BadInput, Hint, HintKind

DENOISER_KEYS = ("model_filename", "trained_diffusion_path")
AUTOENCODER_KEY = "trained_autoencoder_path"


@dataclass(frozen=True)
class MaisiModel:
    """One model: its networks, its weights, and how its project samples from it.

    Attributes
    ----------
    network : BundleConfig
        Describes the networks.
    autoencoder, denoiser : ConfigTarget
        The networks.
    files : dict
        Part to weight file; None is one that is not there.
    named : dict
        What to say where it is not.
    sampling, sampling_origin
        Values for sampling, and where they stand.
    scale_factor : SourcedValue
        As the checkpoint holds it.
    """

    network: BundleConfig
    autoencoder: ConfigTarget
    denoiser: ConfigTarget
    files: dict[str, Path | None]
    named: dict[str, str]
    sampling: dict[str, Any]
    sampling_origin: str
    scale_factor: SourcedValue

    def value(self, name: str) -> Any:
        """Return a value for sampling, lists as tuples; None where it is not a plain one."""
        value = self.sampling.get(name)
        if isinstance(value, list) and all(type(v) in (int, float) for v in value):
            return tuple(value)
        return value if type(value) in (int, float) else None

    def find_values(self, name: str) -> Iterator[SourcedValue]:
        """Yield a value from the sampling configuration, then from that of the networks."""
        yield SourcedValue(self.value(name), self.sampling_origin)
        if name in self.network:
            try:
                value = self.network.resolve(name)
            except BadInput:
                return
            yield SourcedValue(
                tuple(value) if isinstance(value, list) else value, format_origin(self.network)
            )


def explain_missing_config(found: PathProbe) -> str:
    """Return what was seen where weights lie as MAISI's without a configuration, else nothing."""
    for path in found.weight_files:
        try:
            states = found.states(path)
        except BadInput:
            continue
        for state in states:
            if state.has("spacing_layer.0.weight") and matches_part(state, "denoiser"):
                return f"{path.name} holds a denoiser that is told the voxel size, as MAISI's is"
    return ""


def find_maisi_model(found: PathProbe) -> MaisiModel | None:
    """Return the model that a path means, None where it is no MAISI.

    Raises
    ------
    BadInput
        Several models lie there, or a configuration would need code to run.
    """
    configs = list_configs(found)
    networks = [
        c for c in configs if read_class_name(c, "diffusion_unet_def") == "DiffusionModelUNetMaisi"
    ]
    if not networks:
        return None
    environment, denoiser, told = _choose_weights(found, configs)
    state, scale_factor = _read_denoiser(found, denoiser)
    named = [c for c in found.configs if c in networks] if found.path.is_file() else []
    network = _match_network(named or networks, state, denoiser)
    files = {"autoencoder": _find_autoencoder(found, environment or network), "denoiser": denoiser}
    missing = {
        "autoencoder": "the autoencoder's weight file, as autoencoder=models/autoencoder_v1.pt",
        "denoiser": told or "the denoiser's weight file, as denoiser=models/diff_unet_3d.pt",
    }
    sampling, origin = _find_sampling_values(found, configs, environment, denoiser)
    return MaisiModel(
        network,
        network.target("autoencoder_def"),
        network.target("diffusion_unet_def"),
        files,
        missing,
        sampling,
        origin,
        scale_factor,
    )


def _choose_weights(
    found: PathProbe, configs: list[BundleConfig]
) -> tuple[BundleConfig | None, Path | None, str]:
    """Return the configuration that names the weights, the denoiser's file, and what to ask."""
    environments: dict[Path, BundleConfig] = {}
    # Of several that name the same weights, that of the diffusion model's own script.
    for config in sorted(configs, key=lambda c: "diff_model" not in c.path.stem):
        listed = config.weight_files()
        path = next((listed[key] for key in DENOISER_KEYS if key in listed), None)
        if path is not None:
            environments.setdefault(path.resolve(), config)
    if not found.is_folder:
        return environments.get(found.path.resolve()), found.path, ""
    stated = find_stated_file(found, "denoiser")
    if stated is not None:
        return environments.get(stated.resolve()), stated, ""
    chosen = {
        path: config
        for path, config in environments.items()
        if found.path.is_file()
        and (config.path == found.path or _read_variant(config) == _read_named_variant(found))
    }
    there = [path for path in chosen or environments if path.is_file()]
    if len(there) == 1:
        return (chosen or environments)[there[0]], there[0], ""
    if there:
        names = ", ".join(sorted(path.name for path in there))
        return (
            None,
            None,
            (
                f"several models lie here ({names}); state which, as "
                f"denoiser=models/{sorted(path.name for path in there)[0]}"
            ),
        )
    by_name = [p for p in found.weight_files if re.match(r"diff(usion)?_?unet", p.name)]
    if len(by_name) == 1:
        return None, by_name[0], ""
    names = ", ".join(sorted(path.name for path in environments)[:4])
    return None, None, f"the denoiser's weight file, perhaps {names}, as denoiser=FILE"


def _read_variant(config: BundleConfig) -> str:
    """Return which model a configuration is for, as its name tells: ``rflow-mr``."""
    name = re.sub(r"^(environment|config)_(maisi_diff_model|maisi3d)?[_-]?", "", config.path.stem)
    return name if name != config.path.stem else ""


def _read_named_variant(found: PathProbe) -> str:
    first = found.configs[0]
    return _read_variant(first) if "diffusion_unet_inference" in first else " "


def _read_denoiser(found: PathProbe, path: Path | None) -> tuple[StateDict | None, SourcedValue]:
    """Return the denoiser's state and the scale factor beside it."""
    if path is None:
        return None, SourcedValue()
    content = found.open(path).content
    state = next((s for s in found.states(path) if matches_part(s, "denoiser")), None)
    value: Any = content.get("scale_factor") if isinstance(content, dict) else None
    if hasattr(value, "numel"):
        value = float(value) if value.numel() == 1 else None
    if type(value) not in (int, float) or not value > 0:
        return state, SourcedValue()
    return state, SourcedValue(float(value), f"the checkpoint ({path.name})")


def _match_network(
    networks: list[BundleConfig], state: StateDict | None, denoiser: Path | None
) -> BundleConfig:
    """Return the configuration whose denoiser takes what the weights take."""
    if state is None or len(networks) == 1:
        return networks[0]
    layers = {
        "num_class_embeds": "class_embedding.weight",
        "include_top_region_index_input": "top_region_index_layer.0.weight",
        "include_bottom_region_index_input": "bottom_region_index_layer.0.weight",
    }
    for network in networks:
        arguments = network.target("diffusion_unet_def").arguments
        if all(bool(arguments.get(name)) == state.has(layer) for name, layer in layers.items()):
            return network
    names = ", ".join(format_origin(network) for network in networks)
    hint = Hint(HintKind.STATE, "config=FILE")
    raise BadInput(f"{denoiser}: none of {names} describes these weights.", hint)


def _find_autoencoder(found: PathProbe, config: BundleConfig) -> Path | None:
    stated = find_stated_file(found, "autoencoder")
    if stated is not None:
        return stated
    path = config.weight_files().get(AUTOENCODER_KEY)
    if path is not None and path.is_file():
        return path
    folder = found.weight_files if found.is_folder else []
    lying = [p for p in folder if p.name.startswith("autoencoder")]
    return lying[0] if len(lying) == 1 else None


def _find_sampling_values(
    found: PathProbe,
    configs: list[BundleConfig],
    environment: BundleConfig | None,
    denoiser: Path | None,
) -> tuple[dict[str, Any], str]:
    """Return the values for sampling that belong to the chosen weights."""
    choices = [c for c in configs if isinstance(c.data.get("diffusion_unet_inference"), dict)]
    named = [c for c in choices if c.path == found.path]
    if environment is not None:
        named += [c for c in choices if _read_variant(c) == _read_variant(environment)]
    if denoiser is not None:
        # The longest: rflow-mr is in the name of rflow-mr-brain too.
        fitting = [c for c in choices if _read_variant(c) and _read_variant(c) in denoiser.name]
        named += sorted(fitting, key=lambda c: -len(_read_variant(c)))
    if not named and len(choices) == 1:
        named = choices
    if not named:
        return {}, ""
    return named[0].data["diffusion_unet_inference"], format_origin(named[0])
