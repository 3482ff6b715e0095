"""The page about a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import hash_file
from napari_memscan.study import SampleRow, Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.config import GeneratorConfig, StudyConfig
    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.report.supplementary import SupplementaryResults
    from napari_memscan.review.current_decisions import CurrentDecisions
    from napari_memscan.volumes.cohort import Cohort

LIBRARIES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "scikit-learn", "statsmodels")
"""Their versions stand among the methods."""


def report_study(study: Study, *, pdf: bool = False) -> Path:
    """Write the report of the last scan and all that is known beside it.

    Parameters
    ----------
    study : Study
        Scanned.
    pdf : bool
        Print it to ``report.pdf`` beside the page as well.

    Returns
    -------
    Path
        ``report/index.html``.

    Raises
    ------
    BadInput
        Not scanned yet, or a file of results is damaged.
    JobFailed
        What prints a PDF is not installed. The page is written all the same.
    """
    from napari_memscan.jobs.scan.volumes import resolve_spacing
    from napari_memscan.report.page import write_report
    from napari_memscan.report.pdf import PDF_NAME, write_pdf

    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet. Scan first.")
    samples = study.samples()
    store = study.store()
    try:
        standing, (events, head) = store.standing(), store.head()
    finally:
        store.close()
    current = standing.current()
    page = write_report(
        study.report_dir,
        result,
        title=study.config.name,
        decisions={s.name: current[s.name] for s in result.samples if s.name in current},
        pictures=study.array_of,
        spacing=resolve_spacing(study)
        if any(s.score is not None for s in result.samples)
        else None,
        attached=collect_supplement(study, result, standing),
        provenance=describe_provenance(study, samples, events, head),
        settings=list_settings(study.config),
        files=hash_report_files(study),
    )
    # One of an earlier page would say something else than this one.
    page.with_name(PDF_NAME).unlink(missing_ok=True)
    if pdf:
        write_pdf(page)
    return page


def collect_supplement(
    study: Study, result: ScanResult, standing: CurrentDecisions
) -> SupplementaryResults:
    """Return what a study knows besides its scan.

    Parameters
    ----------
    study : Study
    result : ScanResult
        Its last scan.
    standing : CurrentDecisions
        Decisions, of which readers may have other names.
    """
    from napari_memscan.detection.planting.selftest import SelfTest
    from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER
    from napari_memscan.report.supplementary import (
        SupplementaryResults,
        read_duplicate_summary,
        read_evidence,
        read_membership,
    )
    from napari_memscan.review.findings import analyse_reader_study
    from napari_memscan.review.plan_files import load_plans
    from napari_memscan.review.truth import build_truth_from_plans

    verdicts = {s.name: s.verdict for s in result.samples}
    known = build_truth_from_plans(load_plans(study.folder / BLIND_FOLDER))
    real = [*study.cohort.rows(Split.TRAINING), *study.cohort.rows(Split.VALIDATION)]
    config = study.config.generator
    said: dict[str, set[str]] = {}
    for decisions in standing.by_reader().values():
        for sample, decision in decisions.items():
            said.setdefault(sample, set()).add(decision.decision)
    return SupplementaryResults(
        selftest=SelfTest.load(study.scan_dir),
        evidence=read_evidence(study.scan_dir),
        membership=read_membership(study.scan_dir),
        readers=analyse_reader_study(standing, verdicts, known) if standing.events else None,
        disagreed=frozenset(name for name in verdicts if len(said.get(name, ())) > 1),
        twice=read_duplicate_summary(study.scan_dir),
        n_unknown_subjects=sum(not row.subject_id for row in real),
        generator=config.kind if config is not None else "",
    )


def describe_provenance(
    study: Study, samples: Sequence[SampleRow], events: int, head: str
) -> dict[str, str]:
    """Return what the table of methods says of the model, the seeds and the decisions."""
    from napari_memscan import __version__

    seeded = [row for row in samples if row.seed]
    return {
        "memscan": __version__,
        "libraries when this was written": _describe_versions(),
        "generator": study.config.generator.kind if study.config.generator else "none",
        "checkpoint hash": ", ".join(sorted({r.checkpoint_hash for r in samples} - {""})),
        "recipe hash": ", ".join(sorted({r.recipe_hash for r in samples} - {""})),
        "sampler": ", ".join(sorted({f"{r.sampler} {r.steps} steps" for r in samples if r.seed})),
        "networks run with": ", ".join(sorted({r.settings for r in seeded} - {""})),
        "declared of the model": _describe_overrides(study.config.generator),
        **_describe_training(study),
        "seeds": _format_ranges(sorted({int(r.seed) for r in seeded})),
        "preprocessing hash": study.config.preprocessing.hash,
        "people in the training data": _describe_subjects(study.cohort),
        # A page that is handed out is a place to note it; see `memscan audit`.
        "head of the decisions": f"{head} after {events} events" if events else "",
    }


def list_settings(config: StudyConfig) -> dict[str, str]:
    """Return every setting of ``study.toml`` and every default, by its dotted name."""
    return dict(_flatten(config.model_dump(mode="json")))


def _flatten(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, part in value.items():
        if name == "warnings" and not before:  # They stand at the top of the page.
            continue
        if isinstance(part, dict) and part:
            yield from _flatten(part, f"{before}{name}.")
        elif f"{before}{name}" == "review.store" and "://" in part:
            yield "review.store", "a database"  # Its URL may hold a password.
        else:
            yield f"{before}{name}", "" if part in (None, {}, []) else str(part)


def hash_report_files(study: Study) -> dict[str, str]:
    """Return the files that a report rests on, by their name in the study, with SHA-256."""
    named = [study.folder / "study.toml", study.folder / "cohort.csv"]
    named += [study.synthetic_dir / "samples.csv", *sorted(study.scan_dir.glob("*"))]
    return {
        path.relative_to(study.folder).as_posix(): hash_file(path)
        for path in named
        if path.is_file() and not path.name.startswith(".")
    }


def _describe_versions() -> str:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _describe_subjects(cohort: Cohort) -> str:
    rows = cohort.rows(Split.TRAINING)
    subjects = {row.subject_id for row in rows} - {""}
    n_unknown_subjects = sum(not row.subject_id for row in rows)
    text = f"{len(rows)} volumes of {len(subjects)} subjects"
    return (
        f"{text}; the subject of {n_unknown_subjects} is not known" if n_unknown_subjects else text
    )


def _describe_overrides(config: GeneratorConfig | None) -> str:
    """Say what was stated or estimated because the model's files do not hold it."""
    stated = config.declared if config is not None else {}
    return ", ".join(f"{name} {value}" for name, value in stated.items())


def _describe_training(study: Study) -> dict[str, str]:
    """Return how the parts of a model were trained, where its recipe says so."""
    from napari_memscan.checkpoints.native_format import read_recipe

    config = study.config.generator
    path = study.resolve(config.path) if config is not None and not config.external else None
    if path is None or not (path / "recipe.json").is_file():
        return {}
    told = {}
    for part, made in read_recipe(path).provenance.items():
        if isinstance(made, dict) and isinstance(made.get("settings"), dict):
            values = ", ".join(f"{name} {value}" for name, value in _flatten(made["settings"]))
            told[f"{part} trained with"] = f"{made.get('n_training')} volumes; {values}"
    return told


def _format_ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)
