"""What is this model? What it is, what is missing, and whether it is safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.inspection import Inspection
from napari_memscan.checkpoints.loading import describe_checkpoint
from napari_memscan.checkpoints.trusted.trust_check import parse_plug_in
from napari_memscan.config import GeneratorConfig
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.embedders.loading import load_embedder
from napari_memscan.errors import BadInput
from napari_memscan.files import make_absolute
from napari_memscan.jobs.models.inspect_path import PathKind, PathReport, inspect_path, load_model
from napari_memscan.volumes.reader import list_volumes
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.study.field_status import EmbedderChoice, FieldChoice, FieldStatus

SAFE = "Read as data: nothing in it was run."
NEEDS_CODE = "This can only be used by running its code."
SCALE_MISSING = (
    "Scale factor: not in the files; it is estimated from the training volumes, if not stated."
)
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
    value = GeneratorConfig(kind="ldm", path=path, declared=declared.to_dict(), trust=choice.trust)
    if choice.trust:
        return _report_trusted(path, value)
    report = inspect_path(path, declared, wanted="ldm")
    if report.kind is PathKind.VOLUME:
        raise BadInput(f"{path}: this is one volume. Choose the folder of synthetic volumes.")
    if report.kind in (PathKind.VOLUMES, PathKind.COHORT) and report.path.is_dir():
        return FieldStatus(
            f"{len(list_volumes(path))} synthetic volumes made elsewhere; they are scanned as they "
            "are.",
            "ok",
            GeneratorConfig(kind="folder", path=path),
        )
    found = _require_model(report)
    other = found.candidates[0] if found.candidates else None
    if found.checkpoint is not None or found.unscaled is not None:
        load_model(found.require_checkpoint(unscaled=True))
        return _report_usable(found, value)
    if other is not None and other.kind != "ldm" and found.missing:
        return FieldStatus(
            f"{other.title}: no generator, but an {other.kind}. Choose the file of the diffusion "
            "model, or its folder; where the other network has a file of its own, state it: "
            "denoiser=FILE.",
            "error",
            about_model=True,
        )
    return _report_incomplete(found)


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
    path = get_absolute_model_path(choice.path)
    declared = choice.declared()
    value = EmbedderChoice(path, declared.to_dict(), choice.trust)
    if choice.trust:
        return _report_trusted(path, value)
    found = _require_model(inspect_path(path, declared))
    if found.checkpoint is None and found.unscaled is None:
        return _report_incomplete(found)
    checkpoint = found.require_checkpoint(unscaled=True)
    load_embedder(checkpoint, "cpu")
    if checkpoint.recipe.use == "embedder":
        return _report_usable(found, value)
    # Also the paper's baseline, but an unlikely wish: so it is said, not refused.
    finding = _report_usable(replace(found, unscaled=None, checkpoint=checkpoint), value, False)
    what, *lines = finding.text.splitlines()
    text = "\n".join([what, "⚠ Its autoencoder will be the embedder.", *lines])
    return replace(finding, text=text, level="warning")


def _require_model(report: PathReport) -> Inspection:
    if report.model is None:
        raise BadInput(
            f"{report.path}: this is a {report.kind.value}. Choose the file or folder of a model."
        )
    return report.model


def get_absolute_model_path(path: str) -> str:
    """Return an absolute path; a plug-in, ``module:function``, stays what it is."""
    own = parse_plug_in(path)
    if own is None:
        whole = make_absolute(Path(path).expanduser())
        # The recipe stands for its folder.
        return str(whole.parent if whole.name == "recipe.json" else whole)
    return path if own.file is None else f"{make_absolute(own.file.expanduser())}:{own.function}"


def _report_usable(found: Inspection, value: Any, scaled: bool = True) -> FieldStatus:
    """Say what a model is; `scaled` off where its scale factor does not matter."""
    checkpoint = found.require_checkpoint(unscaled=True)
    report = checkpoint.report
    what = checkpoint.recipe.summarise()
    if found.checkpoint is not None:
        what = describe_checkpoint(checkpoint)
    lines = [what, *_list_doubts(found)]
    if found.checkpoint is None:
        lines.append(SCALE_MISSING)
    lines += [
        f"Scale factor {fact.value} ({fact.origin})"
        for fact in report.facts
        if fact.name == "scale_factor" and scaled
    ]
    lines += [f"⚠ {text}" for text in report.warnings]
    return FieldStatus(
        "\n".join([*lines, SAFE]),
        "ok" if found.checkpoint is not None and not report.warnings else "warning",
        value,
        more="\n".join([report.title, *report.lines()]),
        about_model=True,
    )


def _report_incomplete(found: Inspection) -> FieldStatus:
    """Say what is missing, or why a model cannot be used at all, or not without its code."""
    # What is needed may be there, but as code.
    if found.missing and (found.candidates[0].score >= 0.5 or not found.code):
        first = found.candidates[0]
        missing = tuple(
            fact for fact in found.missing if first.kind != "ldm" or fact.name != "scale_factor"
        )
        lines = _list_doubts(found) if first.score < 1 else [first.title]
        lines += ["The files do not say this; state it below:"]
        lines += [f"• {fact}" for fact in missing]
        if len(missing) < len(found.missing):
            lines.append(SCALE_MISSING)
        return FieldStatus("\n".join([*lines, SAFE]), "missing", missing=missing, about_model=True)
    if not found.code:
        assert found.problem is not None
        return FieldStatus(
            describe_error(found.problem), "error", about_model=bool(found.candidates)
        )
    if found.path.suffix == ".py":
        # Which function is to be run is not said yet, so there is nothing to trust.
        return FieldStatus(f"{NEEDS_CODE} {found.code}", "error")
    return FieldStatus(f"{NEEDS_CODE}\n{found.code}", "error", about_model=True, code=found.code)


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


def _report_trusted(path: str, value: Any) -> FieldStatus:
    return FieldStatus(
        f"{path}\nTrusted: its own code runs, in a process of its own, when the study is made "
        "and when volumes are generated or scanned.",
        "warning",
        value,
        about_model=True,
    )
