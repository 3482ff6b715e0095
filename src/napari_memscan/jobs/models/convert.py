"""A checkpoint of any known family into the project's own format."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.inspection import inspect_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.errors import BadInput
from napari_memscan.jobs.models.new_study import load_with_estimated_scale
from napari_memscan.progress import Progress
from napari_memscan.study import Study
from napari_memscan.typing import Split


def convert_checkpoint(
    path: str | Path,
    out: str | Path,
    declared: ModelOverrides | None = None,
    *,
    study: Study | None = None,
    half: bool = False,
) -> Generator[Progress, None, Checkpoint]:
    """Write a checkpoint as recipe.json and safetensors; return what was loaded.

    Parameters
    ----------
    path, declared
        See `load_checkpoint`.
    out : path
        Folder to be made; must not hold a checkpoint yet.
    study : Study, optional
        A scale factor that nobody states is estimated from its training volumes.
    half : bool
        Store float16.

    Raises
    ------
    BadInput
        The checkpoint cannot be loaded, something is missing, or `out` holds one already.
    JobFailed
        The disk is full, or `out` cannot be written.
    """
    from napari_memscan.checkpoints.native_format import save_checkpoint

    out = Path(out)
    if (out / "recipe.json").exists():
        raise BadInput(f"{out}: holds a checkpoint already. Choose another folder.")
    found = inspect_checkpoint(path, declared)
    checkpoint = found.checkpoint
    if checkpoint is None and study is not None:
        checkpoint = yield from load_with_estimated_scale(
            path,
            declared or ModelOverrides(),
            study.cohort.rows(Split.TRAINING),
            study.config.preprocessing.intensity,
        )
    if checkpoint is None:
        checkpoint = found.require_checkpoint()
    recipe = checkpoint.recipe
    provenance = dict(recipe.provenance)
    provenance["converted"] = checkpoint.report.as_dict() | {"path": Path(path).name}
    if isinstance(recipe, LDMRecipe):
        origin = [f.origin for f in checkpoint.report.facts if f.name == "scale_factor"]
        provenance["scale_factor"] = origin[0] if origin else ""
    files = {part: f"{part}.safetensors" for part in checkpoint.parts}
    recipe = recipe.model_copy(update={"files": files, "provenance": provenance})
    weights = {}
    for done, part in enumerate(checkpoint.parts, 1):
        weights[part] = checkpoint.weights(part)
        yield Progress(done, len(checkpoint.parts), f"read the {part}")
    save_checkpoint(out, recipe, weights, half=half)
    return checkpoint
