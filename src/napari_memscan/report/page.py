"""The report: one HTML page with everything in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.results.scan_result import SampleResult, ScanResult
from napari_memscan.files import write_text
from napari_memscan.report import alt_text as described
from napari_memscan.report import charts, tables
from napari_memscan.report import evidence_tables as other_tables
from napari_memscan.report.conclusion import answer, headline, no_power, promise, stale, stricter
from napari_memscan.report.figures import histogram, pair
from napari_memscan.report.limitations import NEVER, untested
from napari_memscan.report.supplementary import Attached
from napari_memscan.review.store import Decision

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.review.findings import Findings

Pictures = Callable[[str], NDArray[np.float32]]
Triple = tuple[float, float, float]
PAGE, STYLE = "page.html", "page.css"


def write_report(
    folder: str | Path,
    result: ScanResult,
    *,
    title: str,
    decisions: Mapping[str, Decision] | None = None,
    pictures: Pictures | None = None,
    spacing: Triple | None = None,
    attached: Attached | None = None,
    provenance: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    outside: bool = False,
    n_pairs: int = 8,
) -> Path:
    """Write ``index.html``: in short, the evidence, methods and record.

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
    attached : Attached, optional
        What the study knows besides its scan.
    provenance, settings, files : mapping, optional
        Names and values for the tables of methods, of settings, and of files with their hashes.
    outside : bool
        The page names no training volume and is handed on: nothing warns of personal data.
    n_pairs : int
        How many of the nearest pairs are shown.

    Returns
    -------
    Path
        The page. It needs nothing else and opens offline.
    """
    from jinja2 import Environment

    decisions, attached = decisions or {}, attached or Attached()
    rows = [_row(result, sample, decisions.get(sample.path)) for sample in result.samples]
    for row, sample in zip(rows, result.samples, strict=True):
        row["disagreed"] = sample.path in attached.disagreed
    pairs = []
    if pictures is not None:
        for row, sample in zip(rows[:n_pairs], result.samples, strict=False):
            png, registered = _pair(sample, pictures, spacing)
            names = (row["sample"], row["neighbour"])
            alt = described.pair(result, sample, names, registered)
            pairs.append({**row, "png": _text(png), "alt": alt})
    said = [(row["verdict"], _said(row)) for row in rows]
    c = result.calibration
    value = {
        "title": title,
        "result": result,
        "attached": attached,
        "outside": outside,
        "headline": headline(result),
        "answer": answer(result),
        "alarm": bool(result.count("copy") + result.n_near),
        "no_power": no_power(result),
        "promise": promise(result),
        "scored": result.measure == "score",
        "read": other_tables.read(said),
        "gaps": untested(result, attached, len(decisions)),
        "never": NEVER,
        "shares": tables.shares(result),
        "rules": tables.rules(result),
        "thresholds": other_tables.thresholds(result),
        "calibration": c,
        "limits": tables.limits(c) if c is not None else None,
        "pairs": pairs,
        "rows": rows,
        "methods": tables.methods(
            result,
            {"decisions": f"{len(decisions)} of {result.n_synthetic} volumes read"}
            | dict(provenance or {}),
        ),
        "settings": list((settings or {}).items()),
        "files": list((files or {}).items()),
        **_scan_charts(result),
        **_tested(result, attached.selftest),
        **_beside(attached),
    }
    source = resources.files("napari_memscan.report")
    page, css = (source.joinpath(name).read_text("utf-8") for name in (PAGE, STYLE))
    text = Environment(autoescape=True).from_string(page).render(value, css=_style(css))
    path = Path(folder) / "index.html"
    write_text(path, text)
    return path


def _style(css: str) -> Any:
    """Return the sheet as it is: quotes in it are not to be escaped."""
    from markupsafe import Markup

    return Markup(css)


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


def _said(row: Mapping[str, Any]) -> str:
    """Return what people say of a volume, as one word for the table."""
    if row["disagreed"]:
        return other_tables.DISAGREE
    return row["decision"].decision if row["decision"] else ""


def _pair(sample: SampleResult, pictures: Pictures, spacing: Triple | None) -> tuple[bytes, bool]:
    """Draw a sample beside its neighbour, registered where it was; return also whether it was."""
    synthetic, training = pictures(sample.path), pictures(sample.neighbour)
    pose = sample.neighbours[0].transform
    if pose is None or spacing is None:
        return pair(synthetic, training), False
    from napari_memscan.detection.registration.verifier import Verifier

    aligned = Verifier(spacing=spacing).aligned(
        synthetic, training, np.asarray(pose, np.float64).reshape(4, 4)
    )
    return pair(synthetic, aligned, synthetic - aligned), True


def _scan_charts(result: ScanResult) -> dict[str, Any]:
    """Return the charts of a scan, each with what it shows in words."""
    from napari_memscan.detection.exploration.threshold_curve import copies_of_each, curve

    swept = charts.sweep(result)
    grown = None
    if copies_of_each(result).any():
        found = curve(result)
        grown = _chart(charts.grown(found), described.grown(found))
    return {
        "histogram": _chart(histogram(result), described.histogram(result)),
        "sweep": _chart(charts.thresholds(result, swept), described.thresholds(result)),
        "grown": grown,
    }


def _tested(result: ScanResult, selftest: SelfTest | None) -> dict[str, Any]:
    if selftest is None:
        return {"selftest": None, "stale": False}
    return {
        "selftest": selftest,
        "stale": stale(result, selftest),
        "stricter": stricter(result, selftest),
        "planted": _chart(charts.planted(selftest), described.planted(selftest)),
        "selftest_tables": {
            "copies": tables.rate(selftest.sensitivity),
            "near": tables.rate(selftest.sum("near-duplicate").found),
            "specificity": tables.rate(selftest.specificity),
            "kinds": tables.kinds(selftest),
            "confusion": tables.confusion(selftest),
        },
    }


def _beside(attached: Attached) -> dict[str, Any]:
    """Return the tables of metrics, membership and readers, where there are any."""
    evidence, membership, readers = attached.evidence, attached.membership, attached.readers
    return {
        "metrics": other_tables.metrics(evidence) if evidence is not None else None,
        "formulas": other_tables.formulas(evidence) if evidence is not None else (),
        "membership": other_tables.membership(membership) if membership is not None else None,
        "attacks": other_tables.attacks(membership) if membership is not None else (),
        "people": _people(readers) if readers is not None else None,
    }


def _people(found: Findings) -> dict[str, Any]:
    return {
        "readers": other_tables.readers(found),
        "agreement": other_tables.agreement(found),
        "against": other_tables.against(found),
        "choices": [
            f"{reader} recognised the synthetic volume of a pair in {tables.rate(share)}; chance "
            "is 50 %."
            for reader, share in found.choices.items()
        ],
    }


def _chart(png: bytes, alt: str) -> dict[str, str]:
    return {"png": _text(png), "alt": alt}


def _short(path: str) -> str:
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def _text(png: bytes) -> str:
    return b64encode(png).decode("ascii")
