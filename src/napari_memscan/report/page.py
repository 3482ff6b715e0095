"""The report: one HTML page with everything in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.result import ScanResult
from napari_memscan.files import write_text
from napari_memscan.report.figures import histogram, pair
from napari_memscan.review.store import Decision

Pictures = Callable[[str], NDArray[np.float32]]


def write_report(
    folder: str | Path,
    result: ScanResult,
    *,
    title: str,
    decisions: Mapping[str, Decision] | None = None,
    pictures: Pictures | None = None,
    provenance: Mapping[str, str] | None = None,
    n_pairs: int = 8,
) -> Path:
    """Write ``index.html``: verdict, numbers, histogram, pairs, decisions, methods.

    Parameters
    ----------
    folder : path
        Gets ``index.html``.
    result : ScanResult
        What to report.
    title : str
        Of the study.
    decisions : mapping of str to Decision, optional
        Path of a synthetic volume to what was decided.
    pictures : callable, optional
        Path to its preprocessed volume (X, Y, Z) in [0, 1]; without it no pairs are shown.
    provenance : mapping, optional
        Names and values for the table of methods.
    n_pairs : int
        How many of the most similar pairs are shown.

    Returns
    -------
    Path
        The page. It needs nothing else and opens offline.
    """
    from jinja2 import Environment

    decisions = decisions or {}
    rows: list[dict[str, Any]] = [
        {
            "sample": _short(s.path),
            "neighbour": _short(s.neighbour),
            "similarity": s.similarity,
            "verdict": s.verdict,
            "reason": s.reason,
            "decision": decisions.get(s.path),
        }
        for s in result.samples
    ]
    pairs = []
    if pictures is not None:
        for row, sample in zip(rows[:n_pairs], result.samples, strict=False):
            png = pair(pictures(sample.path), pictures(sample.neighbour))
            pairs.append({**row, "png": _text(png)})
    methods = {
        "Rule": f"{result.rule}, quantile {result.quantile:g}, tau {result.threshold:.6f}",
        "Sizes": (
            f"{result.n_training} training, {result.n_validation} validation, "
            f"{result.n_synthetic} synthetic"
        ),
        "Intervals": "Clopper-Pearson, 95 %",
        "Embedder": f"{result.embedder}, hash {result.embedder_hash}",
        "Preprocessing": str(result.preprocessing),
        "Decisions": f"{len(decisions)} of {result.n_synthetic} volumes read",
        **{name[:1].upper() + name[1:]: value for name, value in (provenance or {}).items()},
    }
    undecided = any(s.verdict == "undecided" for s in result.samples)
    called = "above tau; none is called a copy here" if undecided else "called copies"
    above = "above tau" if undecided else "copy"
    source = resources.files("napari_memscan.report").joinpath("page.html").read_text("utf-8")
    template = Environment(autoescape=True).from_string(source)
    text = template.render(
        title=title,
        result=result,
        answer=answer(result),
        alarm=bool(result.n_copies) and not undecided,
        shares=[
            (
                "N_copies",
                f"synthetic volumes {called}",
                result.n_copies,
                result.n_synthetic,
                result.copies_interval,
                result.null_floor_copies,
            ),
            (
                "N_mem",
                f"training volumes with at least one {above}",
                result.n_mem,
                result.n_training,
                result.mem_interval,
                result.null_floor_mem,
            ),
        ],
        histogram=_text(histogram(result)),
        pairs=pairs,
        rows=rows,
        methods=list(methods.items()),
    )
    path = Path(folder) / "index.html"
    write_text(path, text)
    return path


def answer(result: ScanResult) -> str:
    """Say in plain words what the numbers do and do not show."""
    undecided = [s for s in result.samples if s.verdict == "undecided"]
    if undecided:
        return (
            f"No answer: {undecided[0].reason}. The list below is in order of similarity all the "
            "same; look at its first pairs."
        )
    k, n = result.n_copies, result.n_synthetic
    low, high = result.copies_interval
    floor = result.null_floor_copies
    found = (
        f"{k} of {n} synthetic volumes ({k / n:.0%}, 95 % interval {low:.0%} to {high:.0%}) are "
        "called copies."
    )
    if not k:
        return (
            f"{found} That is no proof that none is a copy: the embedder sees only what it was "
            "made to see."
        )
    if low > floor:
        return (
            f"{found} That is more than the {floor:.0%} this rule calls by chance: this model has "
            "memorised training volumes. Do not release the called volumes. It does not mean that "
            "each of them is a copy, nor that the others are free of copies."
        )
    return (
        f"{found} About {floor:.0%} would be called by chance at these sizes, so this count alone "
        "does not show memorisation; single pairs may. A person should read the called pairs "
        "before a release. It does not mean that the others are free of copies."
    )


def _short(path: str) -> str:
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _text(png: bytes) -> str:
    return b64encode(png).decode("ascii")
