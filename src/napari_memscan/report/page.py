"""The report: one HTML page with everything in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.result import SampleResult, ScanResult
from napari_memscan.files import write_text
from napari_memscan.report import tables
from napari_memscan.report.answer import answer, deciding, level_word, no_power, promise, stale
from napari_memscan.report.figures import histogram, pair
from napari_memscan.review.store import Decision

if TYPE_CHECKING:
    from napari_memscan.detection.selftest import SelfTest

Pictures = Callable[[str], NDArray[np.float32]]
Triple = tuple[float, float, float]


def write_report(
    folder: str | Path,
    result: ScanResult,
    *,
    title: str,
    decisions: Mapping[str, Decision] | None = None,
    pictures: Pictures | None = None,
    spacing: Triple | None = None,
    selftest: SelfTest | None = None,
    provenance: Mapping[str, str] | None = None,
    n_pairs: int = 8,
) -> Path:
    """Write ``index.html``: answer, numbers, rules, calibration, pairs, decisions, methods.

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
    spacing : (float, float, float), optional
        Voxel size in mm of those volumes; with it training volumes are shown as registered.
    selftest : SelfTest, optional
        What the detector found of volumes planted in this study.
    provenance : mapping, optional
        Names and values for the table of methods.
    n_pairs : int
        How many of the nearest pairs are shown.

    Returns
    -------
    Path
        The page. It needs nothing else and opens offline.
    """
    from jinja2 import Environment

    decisions = decisions or {}
    rows = [_row(result, sample, decisions.get(sample.path)) for sample in result.samples]
    pairs = []
    if pictures is not None:
        for row, sample in zip(rows[:n_pairs], result.samples, strict=False):
            png, registered = _pair(sample, pictures, spacing)
            pairs.append({**row, "png": _text(png), "registered": registered})
    called = result.count("copy") + result.n_near
    c = result.calibration
    source = resources.files("napari_memscan.report").joinpath("page.html").read_text("utf-8")
    text = (
        Environment(autoescape=True)
        .from_string(source)
        .render(
            title=title,
            result=result,
            answer=answer(result),
            alarm=bool(called),
            no_power=no_power(result),
            promise=promise(result),
            scored=result.measure == "score",
            shares=tables.shares(result),
            rules=tables.rules(result),
            calibration=c,
            limits=tables.limits(c) if c is not None else None,
            selftest=selftest,
            selftest_tables=_tested(selftest) if selftest is not None else {},
            stale=stale(result, selftest),
            histogram=_text(histogram(result)),
            histogram_alt=_described(result),
            pairs=pairs,
            rows=rows,
            methods=tables.methods(
                result,
                {"decisions": f"{len(decisions)} of {result.n_synthetic} volumes read"}
                | dict(provenance or {}),
            ),
        )
    )
    path = Path(folder) / "index.html"
    write_text(path, text)
    return path


def _row(result: ScanResult, sample: SampleResult, decision: Decision | None) -> dict[str, Any]:
    digits = max(4, result.digits)
    near = sample.neighbours[0]
    return {
        "sample": _short(sample.path),
        "neighbour": _short(sample.neighbour),
        "score": "" if sample.score is None else f"{sample.score:.4f}",
        "displacement": "" if near.displacement is None else f"{near.displacement:.2f}",
        "p_value": "" if sample.p_value is None else f"{sample.p_value:.4f}",
        "similarity": f"{near.similarity:.{digits}f}",
        "verdict": sample.verdict,
        "reason": sample.reason,
        "decision": decision,
    }


def _pair(sample: SampleResult, pictures: Pictures, spacing: Triple | None) -> tuple[bytes, bool]:
    """Draw a sample beside its neighbour, registered where it was; return also whether it was."""
    synthetic, training = pictures(sample.path), pictures(sample.neighbour)
    pose = sample.neighbours[0].transform
    if pose is None or spacing is None:
        return pair(synthetic, training), False
    from napari_memscan.detection.verification import Verifier

    aligned = Verifier(spacing=spacing).aligned(
        synthetic, training, np.asarray(pose, np.float64).reshape(4, 4)
    )
    return pair(synthetic, aligned, synthetic - aligned), True


def _tested(selftest: SelfTest) -> dict[str, Any]:
    return {
        "copies": tables.rate(selftest.sensitivity),
        "near": tables.rate(selftest.sum("near-duplicate").found),
        "specificity": tables.rate(selftest.specificity),
        "kinds": tables.kinds(selftest),
        "confusion": tables.confusion(selftest),
    }


def _described(result: ScanResult) -> str:
    """Describe the histogram to those who do not see it."""
    what = "score after registration" if result.measure == "score" else "similarity"
    null = (
        "training volumes to their nearest validation volume"
        if result.rule == "dar2024"
        else "validation volumes to their nearest training volume"
    )
    text = (
        f"Histogram: {what} of {result.n_synthetic} synthetic volumes to their nearest training "
        f"volume, over the null of {len(result.null)} {null}; "
    )
    if result.threshold is None:
        return text + f"the rule {deciding(result).name} calls none of them."
    digits = 4 if result.measure == "score" else result.digits
    return text + f"{level_word(result)} {result.threshold:.{digits}f}."


def _short(path: str) -> str:
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _text(png: bytes) -> str:
    return b64encode(png).decode("ascii")
