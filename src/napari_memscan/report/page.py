"""The report: one HTML page with everything in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_memscan.detection.exploration.threshold_curve import (
    compute_rarefaction_curve,
    count_scan_copies,
)
from napari_memscan.detection.results.scan_result import SampleResult, ScanResult
from napari_memscan.files import write_text
from napari_memscan.report import alt_text as described
from napari_memscan.report import charts, tables
from napari_memscan.report import evidence_tables as other_tables
from napari_memscan.report.conclusion import (
    compare_with_selftest,
    compose_conclusion,
    compose_headline,
    describe_error_guarantee,
    explain_no_power,
    is_selftest_stale,
)
from napari_memscan.report.figures import draw_histogram, draw_pair
from napari_memscan.report.limitations import UNTESTABLE, list_limitations
from napari_memscan.report.supplementary import SupplementaryResults
from napari_memscan.review.events import ReadingEvent
from napari_memscan.typing import Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.review.findings import ReaderStudyFindings
    from napari_memscan.typing import Triple

VolumeLoader = Callable[[str], NDArray[np.float32]]
TEMPLATE_FILE, STYLE_FILE = "page.html", "page.css"


def write_report(
    folder: str | Path,
    result: ScanResult,
    *,
    title: str,
    decisions: Mapping[str, ReadingEvent] | None = None,
    pictures: VolumeLoader | None = None,
    spacing: Triple | None = None,
    attached: SupplementaryResults | None = None,
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
    decisions : mapping of str to ReadingEvent, optional
        Sample to what was decided.
    pictures : callable, optional
        Name of a volume to itself, preprocessed (X, Y, Z) in [0, 1]; without it no pairs are shown.
    spacing : (float, float, float), optional
        Voxel size in mm of those volumes; with it training volumes are shown as registered.
    attached : SupplementaryResults, optional
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

    decisions, attached = decisions or {}, attached or SupplementaryResults()
    rows = [_make_row(result, sample, decisions.get(sample.name)) for sample in result.samples]
    for row, sample in zip(rows, result.samples, strict=True):
        row["disagreed"] = sample.name in attached.disagreed
    pairs = []
    if pictures is not None:
        for row, sample in zip(rows[:n_pairs], result.samples, strict=False):
            png, registered = _draw_pair(sample, pictures, spacing)
            names = (row["sample"], row["neighbour"])
            alt = described.describe_pair(result, sample, names, registered)
            pairs.append({**row, "png": _encode_png(png), "alt": alt})
    said = [(row["verdict"], _get_decision_text(row)) for row in rows]
    c = result.calibration
    value = {
        "title": title,
        "result": result,
        "attached": attached,
        "outside": outside,
        "headline": compose_headline(result),
        "answer": compose_conclusion(result),
        "alarm": bool(result.count(Verdict.COPY) + result.n_near),
        "no_power": explain_no_power(result),
        "promise": describe_error_guarantee(result),
        "scored": result.measure == "score",
        "read": other_tables.tabulate_decisions(said),
        "gaps": list_limitations(result, attached, len(decisions)),
        "never": UNTESTABLE,
        "shares": tables.tabulate_shares(result),
        "rules": tables.tabulate_rules(result),
        "thresholds": other_tables.tabulate_thresholds(result),
        "calibration": c,
        "limits": tables.tabulate_limits(c) if c is not None else None,
        "pairs": pairs,
        "rows": rows,
        "methods": tables.list_methods(
            result,
            {"decisions": f"{len(decisions)} of {result.n_synthetic} volumes read"}
            | dict(provenance or {}),
        ),
        "settings": list((settings or {}).items()),
        "files": list((files or {}).items()),
        **_draw_scan_charts(result),
        **_render_selftest(result, attached.selftest),
        **_make_evidence_tables(attached),
    }
    source = resources.files("napari_memscan.report")
    page, css = (source.joinpath(name).read_text("utf-8") for name in (TEMPLATE_FILE, STYLE_FILE))
    text = Environment(autoescape=True).from_string(page).render(value, css=_mark_safe(css))
    path = Path(folder) / "index.html"
    write_text(path, text)
    return path


def _mark_safe(css: str) -> Any:
    """Return the sheet as it is: quotes in it are not to be escaped."""
    from markupsafe import Markup

    return Markup(css)


def _make_row(
    result: ScanResult, sample: SampleResult, decision: ReadingEvent | None
) -> dict[str, Any]:
    digits = max(4, result.digits)
    near = sample.neighbours[0]
    return {
        "sample": _shorten_name(sample.name),
        "neighbour": _shorten_name(sample.neighbour),
        "score": "" if sample.score is None else f"{sample.score:.4f}",
        "displacement": "" if near.displacement is None else f"{near.displacement:.2f}",
        "p_value": "" if sample.p_value is None else f"{sample.p_value:.4f}",
        "similarity": f"{near.similarity:.{digits}f}",
        "verdict": sample.verdict,
        "reason": sample.reason,
        "decision": decision,
    }


def _get_decision_text(row: Mapping[str, Any]) -> str:
    """Return what people say of a volume, as one word for the table."""
    if row["disagreed"]:
        return other_tables.READERS_DISAGREE
    return row["decision"].decision if row["decision"] else ""


def _draw_pair(
    sample: SampleResult, pictures: VolumeLoader, spacing: Triple | None
) -> tuple[bytes, bool]:
    """Draw a sample beside its neighbour, registered where it was; return also whether it was."""
    synthetic, training = pictures(sample.name), pictures(sample.neighbour)
    pose = sample.neighbours[0].transform
    if pose is None or spacing is None:
        return draw_pair(synthetic, training), False
    from napari_memscan.detection.registration.verifier import Verifier

    aligned = Verifier(spacing=spacing).align(
        synthetic, training, np.asarray(pose, np.float64).reshape(4, 4)
    )
    return draw_pair(synthetic, aligned, synthetic - aligned), True


def _draw_scan_charts(result: ScanResult) -> dict[str, Any]:
    """Return the charts of a scan, each with what it shows in words."""
    swept = charts.compute_threshold_sweep(result)
    grown = None
    if count_scan_copies(result).any():
        found = compute_rarefaction_curve(result)
        grown = _embed_chart(charts.draw_rarefaction(found), described.describe_rarefaction(found))
    return {
        "histogram": _embed_chart(draw_histogram(result), described.describe_histogram(result)),
        "sweep": _embed_chart(
            charts.draw_threshold_sweep(result, swept), described.describe_thresholds(result)
        ),
        "grown": grown,
    }


def _render_selftest(result: ScanResult, selftest: SelfTest | None) -> dict[str, Any]:
    if selftest is None:
        return {"selftest": None, "stale": False}
    return {
        "selftest": selftest,
        "stale": is_selftest_stale(result, selftest),
        "stricter": compare_with_selftest(result, selftest),
        "planted": _embed_chart(
            charts.draw_selftest(selftest), described.describe_selftest(selftest)
        ),
        "selftest_tables": {
            "copies": tables.format_rate(selftest.sensitivity),
            "near": tables.format_rate(selftest.sum(Verdict.NEAR_DUPLICATE).found),
            "specificity": tables.format_rate(selftest.specificity),
            "kinds": tables.tabulate_kinds(selftest),
            "confusion": tables.tabulate_confusion(selftest),
        },
    }


def _make_evidence_tables(attached: SupplementaryResults) -> dict[str, Any]:
    """Return the tables of metrics, membership and readers, where there are any."""
    evidence, membership, readers = attached.evidence, attached.membership, attached.readers
    return {
        "metrics": other_tables.tabulate_metrics(evidence) if evidence is not None else None,
        "formulas": other_tables.list_formulas(evidence) if evidence is not None else (),
        "membership": other_tables.tabulate_membership(membership)
        if membership is not None
        else None,
        "attacks": other_tables.list_attacks(membership) if membership is not None else (),
        "people": _make_reader_tables(readers) if readers is not None else None,
    }


def _make_reader_tables(found: ReaderStudyFindings) -> dict[str, Any]:
    return {
        "readers": other_tables.tabulate_readers(found),
        "agreement": other_tables.tabulate_agreement(found),
        "against": other_tables.tabulate_accuracy(found),
        "choices": [
            f"{reader} recognised the synthetic volume of a pair in {tables.format_rate(share)};"
            " chance is 50 %."
            for reader, share in found.choices.items()
        ],
    }


def _embed_chart(png: bytes, alt: str) -> dict[str, str]:
    return {"png": _encode_png(png), "alt": alt}


def _shorten_name(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".nii")


def _encode_png(png: bytes) -> str:
    return b64encode(png).decode("ascii")
