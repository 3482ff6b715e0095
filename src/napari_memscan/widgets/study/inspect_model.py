"""What is this model? What it is, what is missing, and whether it is safe."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.checkpoint import Checkpoint
from napari_memscan.checkpoints.inspection import Inspection, inspect_checkpoint
from napari_memscan.checkpoints.loading import describe_checkpoint
from napari_memscan.checkpoints.overrides import ModelOverrides
from napari_memscan.checkpoints.probe import PathProbe
from napari_memscan.checkpoints.recipe import AnyEmbedderRecipe, LDMRecipe
from napari_memscan.config import GeneratorConfig
from napari_memscan.errors import BadInput
from napari_memscan.volumes.reader import is_volume_path, list_volumes
from napari_memscan.widgets.study.field_status import (
    LOW_RESOLUTION,
    EmbedderChoice,
    FieldChoice,
    FieldStatus,
    reword_for_window,
)

SAFE = "Read as data: nothing in it was run."
NEEDS_CODE = "This can only be used by running its code."
SCALE_MISSING = (
    "Scale factor: not in the files; it is estimated from the training volumes, if not stated."
)
UNUSED_SCALE = {
    "scale_factor": 1.0,
    "scale_factor_from": "not needed: an embedder takes unscaled latents",
}
CERTAIN = 0.9
"""From this score on, one reason for what a model is taken for is enough."""


def inspect_generator(choice: FieldChoice) -> FieldStatus:
    """Say what a generator is: a model of any known family, or a folder of volumes.

    Raises
    ------
    BadInput
        It is neither, or cannot be used.
    """
    path = get_absolute_model_path(choice.path)
    declared = choice.declared()
    value = GeneratorConfig(kind="ldm", path=path, declared=declared.given(), trust=choice.trust)
    if choice.trust:
        return _report_trusted(path, value)
    if isinstance(volumes := _recognise_volumes(path), FieldStatus):
        return volumes
    found = inspect_checkpoint(path, declared, "ldm")
    if found.checkpoint is not None:
        _check_weights(found)
        return _report_usable(found, value)
    other = found.candidates[0] if found.candidates else None
    if found.missing and other is not None and other.kind == "ldm":
        return (
            _report_unscaled(path, declared, value)
            if needs_only_scale(found)
            else _report_incomplete(path, found)
        )
    if found.missing and other is not None:
        return FieldStatus(
            f"{other.title}: no generator, but an {other.kind}. Choose the file of the diffusion "
            "model, or its folder; where the other network has a file of its own, state it: "
            "denoiser=FILE.",
            "error",
            about_model=True,
        )
    return _report_unusable(path, found)


def inspect_embedder(choice: FieldChoice) -> FieldStatus:
    """Say what an embedder is.

    Raises
    ------
    BadInput
        It cannot be used.
    """
    if choice.path in ("", LOW_RESOLUTION):
        return FieldStatus(
            "Low-resolution intensities: needs no model. A trained one also finds copies that are "
            "flipped or turned.",
            "info",
            EmbedderChoice(),
        )
    from napari_memscan.embedders.loading import load_embedder

    path = get_absolute_model_path(choice.path)
    declared = choice.declared()
    value = EmbedderChoice(path, declared.given(), choice.trust)
    if choice.trust:
        return _report_trusted(path, value)
    if Path(path).exists() and is_volume_path(path):
        raise BadInput(f"{path}: this is a volume. Choose the file or folder of a model.")
    # As `load_embedder` does, whatever kind it is: an LDM's autoencoder can embed, too.
    found = inspect_checkpoint(path, declared)
    if needs_only_scale(found):
        value = replace(value, declared=value.declared | UNUSED_SCALE)
        found = inspect_checkpoint(path, ModelOverrides.of(value.declared))
    if found.checkpoint is None:
        return _report_incomplete(path, found) if found.missing else _report_unusable(path, found)
    load_embedder(path, "cpu", found.declared)
    finding = _report_usable(found, value)
    if isinstance(found.checkpoint.recipe, AnyEmbedderRecipe):
        return finding
    # Also the paper's baseline, but an unlikely wish: so it is said, not refused.
    what, *lines = finding.text.splitlines()
    lines = [line for line in lines if not _is_scale(line.removeprefix("⚠ "))]
    text = "\n".join([what, "⚠ Its autoencoder will be the embedder.", *lines])
    return replace(finding, text=text, level="warning")


def get_absolute_model_path(path: str) -> str:
    """Return an absolute path; a plug-in, ``module:function``, stays what it is."""
    from napari_memscan.checkpoints.trusted.trust_check import parse_plug_in

    own = parse_plug_in(path)
    if own is None:
        whole = _make_absolute(Path(path))
        # The recipe stands for its folder.
        return str(whole.parent if whole.name == "recipe.json" else whole)
    return path if own.file is None else f"{_make_absolute(own.file)}:{own.function}"


def _make_absolute(path: Path) -> Path:
    """Return an absolute path without following links, which may lead to themselves."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def needs_only_scale(found: Inspection) -> bool:
    """Return whether only the scale factor of an LDM is missing: that can be estimated."""
    names = [text.partition(":")[0] for text in found.missing]
    return names == ["scale_factor"] and found.candidates[0].kind == "ldm"


def _recognise_volumes(path: str) -> FieldStatus | None:
    """Recognise volumes made elsewhere; None where it may be a model."""
    folder = Path(path)
    if folder.is_file() and is_volume_path(folder):
        raise BadInput(f"{path}: this is one volume. Choose the folder of synthetic volumes.")
    if not folder.is_dir() or (folder / "recipe.json").exists() or PathProbe(folder).weight_files:
        return None
    try:
        files = list_volumes(folder)
    except BadInput:
        return None
    return FieldStatus(
        f"{len(files)} synthetic volumes made elsewhere; they are scanned as they are.",
        "ok",
        GeneratorConfig(kind="folder", path=path),
    )


def _report_usable(found: Inspection, value: Any) -> FieldStatus:
    assert found.checkpoint is not None
    report = found.checkpoint.report
    lines = [describe_checkpoint(found.checkpoint), *_list_doubts(found)]
    lines += [
        f"Scale factor {fact.value} ({fact.origin})"
        for fact in report.facts
        if fact.name == "scale_factor"
    ]
    lines += [f"⚠ {reword_for_window(text)}" for text in report.warnings]
    return FieldStatus(
        "\n".join([*lines, SAFE]),
        "warning" if report.warnings else "ok",
        value,
        more="\n".join([f"{report.title}", *report.lines()]),
        about_model=True,
    )


def _report_unscaled(path: str, declared: ModelOverrides, value: GeneratorConfig) -> FieldStatus:
    """See whether all else is there, with 1 where the scale factor belongs."""
    found = inspect_checkpoint(path, declared.model_copy(update={"scale_factor": 1.0}), "ldm")
    if found.checkpoint is None:
        return _report_unusable(path, found)
    _check_weights(found)
    report = found.checkpoint.report
    # The last word of the description is a hash, which will be another one.
    what = describe_checkpoint(found.checkpoint).rpartition(", ")[0] + ")"
    # Doubts about the 1 are about no model.
    doubts = [reword_for_window(text) for text in report.warnings if not _is_scale(text)]
    return FieldStatus(
        "\n".join(
            [what, *_list_doubts(found), SCALE_MISSING, *(f"⚠ {text}" for text in doubts), SAFE]
        ),
        "warning",
        value,
        more="\n".join([report.title, *(text for text in report.lines() if not _is_scale(text))]),
        about_model=True,
    )


def _check_weights(found: Inspection) -> None:
    """Put the weights into the networks: only that reads them to the last and finds NaN in them."""
    from napari_memscan.generators.ldm import LDMGenerator

    LDMGenerator(found.path, "cpu", found.declared)


def _is_scale(text: str) -> bool:
    return text.lower().replace("_", " ").startswith("scale factor")


def _report_incomplete(path: str, found: Inspection) -> FieldStatus:
    first = found.candidates[0]
    if first.score < 0.5 and (refused := _report_unusable(path, found)).code:
        return refused  # What is needed may be there, but as code.
    missing = tuple(text for text in found.missing if not _is_scale(text) or first.kind != "ldm")
    lines = _list_doubts(found) if first.score < 1 else [first.title]
    lines += ["The files do not say this; state it below:"]
    lines += [f"• {reword_for_window(text)}" for text in missing]
    if len(missing) < len(found.missing):
        lines.append(SCALE_MISSING)
    return FieldStatus("\n".join([*lines, SAFE]), "missing", missing=missing, about_model=True)


def _list_doubts(found: Inspection) -> list[str]:
    """Say why it is taken for what it is, where that is not certain."""
    first, *others = found.candidates
    lines = []
    if first.score < 1:
        reasons = first.reasons[: 1 if first.score >= CERTAIN else None]
        lines.append(f"{first.title} ({first.score:.0%} sure): {'; '.join(reasons)}")
    if others:
        names = ", ".join(f"{other.title} (family={other.family})" for other in others[:3])
        lines.append(f"May also be: {names}")
    return lines


def _report_unusable(path: str, found: Inspection) -> FieldStatus:
    """Say why a model cannot be used, and whether it could if its code were run."""
    from napari_memscan.checkpoints.trusted.client import needs_trust

    code = needs_trust(path)
    if code is None:
        problem = found.problem
        if not Path(path).exists():
            problem = (
                f"{path}: no such file or folder. Choose a weight file, the folder of a model (a "
                "bundle, or one with recipe.json), or a folder of synthetic volumes."
            )
        return FieldStatus(reword_for_window(problem), "error", about_model=bool(found.candidates))
    if Path(path).suffix == ".py":
        # Which function is to be run is not said yet, so there is nothing to trust.
        return FieldStatus(f"{NEEDS_CODE} {code}", "error")
    return FieldStatus(f"{NEEDS_CODE}\n{code}", "error", about_model=True, code=code)


def _report_trusted(path: str, value: Any) -> FieldStatus:
    return FieldStatus(
        f"{path}\nTrusted: its own code runs, in a process of its own, when the study is made "
        "and when volumes are generated or scanned.",
        "warning",
        value,
        about_model=True,
    )


def load_unscaled_checkpoint(path: str, declared: ModelOverrides, kind: str | None) -> Checkpoint:
    """Load a model; an LDM without scale factor gets 1, for all that does not depend on it.

    Raises
    ------
    BadInput
        It cannot be used.
    """
    found = inspect_checkpoint(path, declared, kind)
    if found.checkpoint is None and needs_only_scale(found):
        found = inspect_checkpoint(path, declared.model_copy(update={"scale_factor": 1.0}), kind)
    if found.checkpoint is None:
        raise BadInput(reword_for_window(found.problem))
    return found.checkpoint


def get_declared_scale(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return an LDM's scale factor and where it comes from, as one declares them."""
    assert isinstance(checkpoint.recipe, LDMRecipe)
    origins = [fact.origin for fact in checkpoint.report.facts if fact.name == "scale_factor"]
    return {"scale_factor": checkpoint.recipe.scale_factor, "scale_factor_from": origins[0]}
