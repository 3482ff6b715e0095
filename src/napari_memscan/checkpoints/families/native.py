"""The project's own format: a folder with recipe.json."""

from __future__ import annotations

from pathlib import Path

from napari_memscan.checkpoints.checkpoint import Checkpoint, Fact, LoadReport
from napari_memscan.checkpoints.families.family import Family, FamilyCandidate
from napari_memscan.checkpoints.native_format import find_weight_file, read_recipe, read_state_dict
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import LDMRecipe

TITLE = "memscan checkpoint"


def is_native(path: Path) -> bool:
    """Return whether a path is such a folder, or its recipe."""
    return path.name == "recipe.json" or (path / "recipe.json").exists()


def recognise(found: PathProbe) -> FamilyCandidate | None:
    """Recognise a folder by its recipe.json."""
    if not is_native(found.path):
        return None
    recipe = read_recipe(found.path)
    return FamilyCandidate("native", TITLE, recipe.use, 1.0, ("recipe.json lies there",))


def load(found: PathProbe) -> Checkpoint:
    """Read the recipe and, when they are touched, the tensors."""
    recipe = read_recipe(found.path)
    files = {part: find_weight_file(found.path, recipe, part) for part in recipe.files}
    states = {part: read_state_dict(path) for part, path in files.items()}
    facts = []
    if isinstance(recipe, LDMRecipe) and recipe.scale_factor is not None:
        origin = recipe.provenance.get("scale_factor", "recipe.json")
        facts.append(Fact("scale_factor", f"{recipe.scale_factor:g}", str(origin)))
    report = LoadReport("native", TITLE, files, states, facts=tuple(facts))
    return Checkpoint(found.path, recipe, {k: s.tensors for k, s in states.items()}, report)


FAMILY = Family("native", recognise, load)
