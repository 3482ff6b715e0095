"""The project's own format: a folder with recipe.json."""

from __future__ import annotations

from pathlib import Path

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.interface import Candidate, Family, Kind
from napari_memscan.checkpoints.native import read_recipe, read_state, weight_path
from napari_memscan.checkpoints.probe import Found
from napari_memscan.checkpoints.recipe import LDMRecipe

TITLE = "memscan checkpoint"
_KINDS: dict[str, Kind] = {
    "ldm": "ldm", "autoencoder": "autoencoder", "embedder": "embedder", "structural": "embedder",
    "backbone": "embedder", "slices": "embedder",
}  # fmt: skip


def is_native(path: Path) -> bool:
    """Return whether a path is such a folder, or its recipe."""
    return path.name == "recipe.json" or (path / "recipe.json").exists()


def recognise(found: Found) -> Candidate | None:
    """Recognise a folder by its recipe.json."""
    if not is_native(found.path):
        return None
    recipe = read_recipe(found.path)
    return Candidate("native", TITLE, _KINDS[recipe.kind], 1.0, ("recipe.json lies there",))


def load(found: Found) -> Checkpoint:
    """Read the recipe and, when they are touched, the tensors."""
    recipe = read_recipe(found.path)
    files = {part: weight_path(found.path, recipe, part) for part in recipe.files}
    states = {part: read_state(path) for part, path in files.items()}
    facts = []
    if isinstance(recipe, LDMRecipe) and recipe.scale_factor is not None:
        origin = recipe.provenance.get("scale_factor", "recipe.json")
        facts.append(Fact("scale_factor", f"{recipe.scale_factor:g}", str(origin)))
    report = LoadReport("native", TITLE, files, states, facts=tuple(facts))
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


FAMILY = Family("native", recognise, load)
