"""Measures against copying, tried on a study's own model and counted with one ruler."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json
from napari_memscan.generators.sample import SamplingSettings
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.mitigation.retraining import (
    collect_retraining_evidence,
    describe_untried_measures,
)
from napari_memscan.jobs.replacement.regenerate import explain_memory_errors
from napari_memscan.jobs.replacement.until_clean import (
    MAX_OVERSAMPLING,
    ROUND_DIVISOR,
    count_drawn,
    estimate_missed,
)
from napari_memscan.jobs.sampling.generate import choose_condition, generate_volumes
from napari_memscan.jobs.scan.scan import scan_study
from napari_memscan.jobs.scan.volumes import StudyVolumes, iter_vectors
from napari_memscan.progress import Progress
from napari_memscan.samples import SampleRow
from napari_memscan.study import Study
from napari_memscan.typing import Split, Verdict

if TYPE_CHECKING:
    from napari_memscan.detection.mitigation import MitigationComparison, MitigationMeasure
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult
    from napari_memscan.generators.sample import DenoisingStep

FOLDER = "mitigation"
"""In the study: a study of its own for the volumes, the page and the numbers."""
FILE, PAGE = "mitigation.json", "index.html"

DEFAULT_STRENGTH = 2.0
"""Of guidance, where nobody says another."""
MIN_VOLUMES = 6
"""Volumes that precision and coverage need: one more than `coverage.DEFAULT_NEAREST`."""

ScannedSample = tuple[SampleRow, "SampleResult"]


def evaluate_mitigation(
    study: Study, n: int = 64, *, guidance: float = DEFAULT_STRENGTH, most: int | None = None
) -> Generator[DenoisingStep | Progress, None, MitigationComparison]:
    """Draw `n` volumes as ever and `n` guided ones of the same noise; screen both; compare.

    All are scanned in one batch: a rule whose level depends on the batch then has one level for
    all. More of both are drawn until `n` of each pass, or `most` of each are drawn. Plain volumes
    that the study has already are taken from there; nothing else in it is changed.

    Parameters
    ----------
    study : Study
        Its generator must be an LDM that allows guidance.
    n : int
        Volumes wanted of each measure.
    guidance : float
        Strength; above 0.
    most : int, optional
        Volumes drawn of either kind; default 4 times `n`.

    Yields
    ------
    Step, Progress
        As `generate_volumes` and `scan_study` do. Stopped, it goes on and gives the same bytes.

    Returns
    -------
    Mitigation
        Also in the study's ``mitigation/mitigation.json`` and, to be read, ``index.html``.

    Raises
    ------
    BadInput
        The model allows no guidance, volumes are made elsewhere, or the folder is of another model.
    """
    from napari_memscan.report.mitigation import write_mitigation_page

    most = MAX_OVERSAMPLING * n if most is None else most
    if n < 2 or most < n or guidance <= 0:
        raise BadInput(
            f"{n} of at most {most} volumes, guidance {guidance:g}: at least 2, at most no fewer "
            "than that, and a strength above 0."
        )
    if processes.get_rank_and_size()[1] > 1:
        raise BadInput("volumes that are scanned in between cannot be drawn by several processes.")
    config = study.config.generator
    if config is None or config.external:
        raise BadInput(
            f"{study.folder}: no model to try measures on. Choose an LDM checkpoint as the study's "
            "generator."
        )
    own = _open_mitigation_study(study)
    _adopt_samples(study, own, n)
    step, total = ceil(n / ROUND_DIVISOR), n
    while total < min(max(count_drawn(own.samples()), count_drawn(own.samples(), guidance)), most):
        total = min(total + step, most)
    with explain_memory_errors():
        while True:
            yield from generate_volumes(own, total)
            yield from generate_volumes(own, total, guidance=guidance)
            result = yield from scan_study(own)
            ways = _split_by_guidance(own, result, guidance)
            rule = study.config.release.rule
            passed = {w: [row for row in of if row[1].verdict in rule] for w, of in ways.items()}
            if total >= most or all(len(rows) >= n for rows in passed.values()):
                break
            total = min(total + step, most)
    sets = {
        "plain": (ways["plain"][:n], ways["plain"][:n]),
        "screening": _take_until_passed(ways["plain"], passed["plain"], n),
        "guidance": (ways["guided"][:n], ways["guided"][:n]),
        "screening and guidance": _take_until_passed(ways["guided"], passed["guided"], n),
    }
    found = yield from _compare_measures(study, own, result, sets, n, guidance)
    write_json(own.folder / FILE, found.to_dict())
    write_mitigation_page(own.folder / PAGE, found)
    return found


def _open_mitigation_study(study: Study) -> Study:
    """Open the study in the study, or make it: same model, cohort and detector."""
    wanted = study.absolute_config().model_copy(update={"name": f"{study.config.name}: mitigation"})
    folder = study.folder / FOLDER
    if (folder / "study.toml").exists():
        own = Study.open(folder, cache_dir=study.cache_dir)
        same = own.absolute_config().model_copy(update={"warnings": ()})
        if same != wanted.model_copy(update={"warnings": ()}):
            raise BadInput(
                f"{folder}: was made with another model, embedder, rule or preprocessing than the "
                "study has now. Move or delete this folder."
            )
        return own
    return Study.create(folder, wanted, study.cohort, cache_dir=study.cache_dir)


def _adopt_samples(study: Study, own: Study, n: int) -> None:
    """Take over the plain volumes that the study has; their files stay where they are."""
    if own.samples():
        return
    generator, config = own.generator(), own.require_generator()
    first = study.config.seed
    asked = {(str(s), choose_condition(config, generator, s)) for s in range(first, first + n)}
    own.add_samples(
        [
            replace(row, path=own.keep_path(study.sample_path(row)))
            for row in study.samples()
            if (row.seed, row.condition) in asked
            and not row.parent
            and "guidance=" not in row.settings
        ]
    )


def _split_by_guidance(
    own: Study, result: ScanResult, strength: float
) -> dict[str, list[ScannedSample]]:
    """Return all plain and all guided volumes with what the scan says, in the order of seeds."""
    judged = {sample.name: sample for sample in result.samples}
    ways: dict[str, list[ScannedSample]] = {"plain": [], "guided": []}
    for row in sorted(own.samples(), key=lambda row: int(row.seed)):
        guided = SamplingSettings.parse(row.settings).guidance.partition(":")[0]
        if guided in ("", f"{strength:g}"):
            ways["guided" if guided else "plain"].append((row, judged[row.sample]))
    return ways


def _take_until_passed(
    drawn_: Sequence[ScannedSample], passed: Sequence[ScannedSample], n: int
) -> tuple[Sequence[ScannedSample], list[ScannedSample]]:
    """Return what had to be drawn for the first `n` that passed, and these."""
    kept = list(passed[:n])
    if len(kept) < n:
        return drawn_, kept
    return drawn_[: drawn_.index(kept[-1]) + 1], kept


def _compare_measures(
    study: Study,
    own: Study,
    result: ScanResult,
    sets: dict[str, tuple[Sequence[ScannedSample], list[ScannedSample]]],
    n: int,
    strength: float,
) -> Generator[Progress, None, MitigationComparison]:
    import numpy as np

    from napari_memscan.detection.mitigation import MitigationComparison

    paths = {
        split: [row.path for row in own.cohort.rows(split)]
        for split in (Split.TRAINING, Split.VALIDATION)
    }
    vectors = {split: np.stack(list(iter_vectors(own, names))) for split, names in paths.items()}
    # A measure that leaves next to nothing must not keep the others from being compared.
    m = min((len(rows) for _, rows in sets.values() if len(rows) >= MIN_VOLUMES), default=0)
    measures: list[MitigationMeasure] = []
    for done, (name, (all_drawn, rows)) in enumerate(sets.items()):
        yield Progress(done, len(sets), f"quality of {name}")
        names = [str(own.sample_path(row)) for row, _ in rows[:m]] if len(rows) >= m else []
        quality = _evaluate_quality(own, paths, vectors, names)
        measures.append(_build_measure(study, result, name, all_drawn, rows, quality))
    rows_of_model = own.samples()
    return MitigationComparison(
        title=study.config.name,
        checkpoint=rows_of_model[0].checkpoint_hash,
        rule=result.rule,
        wanted=n,
        strength=strength,
        sizes={**{split: len(names) for split, names in paths.items()}, "quality": m},
        measures=tuple(measures),
        elsewhere=describe_untried_measures(study),
        retrained=collect_retraining_evidence(study),
        warnings=result.warnings,
    )


def _build_measure(
    study: Study,
    result: ScanResult,
    name: str,
    all_drawn: Sequence[ScannedSample],
    rows: Sequence[ScannedSample],
    quality: Any,
) -> MitigationMeasure:
    from napari_memscan.detection.mitigation import MitigationMeasure

    def count(verdict: Verdict, among: Sequence[ScannedSample] = rows) -> int:
        return sum(one.verdict == verdict for _, one in among)

    def called(among: Sequence[ScannedSample]) -> int:
        return count(Verdict.COPY, among) + count(Verdict.NEAR_DUPLICATE, among)

    others = {
        rule.name: sum(one.similarity > rule.threshold for _, one in rows)
        for rule in result.rules
        if not rule.decides and rule.measure == "similarity" and rule.threshold is not None
    }
    missed = estimate_missed(study.scan_dir, result, called(all_drawn), len(rows) - called(rows))
    return MitigationMeasure(
        name,
        len(all_drawn),
        len(rows),
        count(Verdict.COPY),
        count(Verdict.NEAR_DUPLICATE),
        count(Verdict.UNDECIDED),
        others,
        quality,
        str(missed or "not known: run memscan selftest"),
    )


def _evaluate_quality(
    own: Study, paths: dict[Split, list[str]], vectors: dict[Split, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Return metric to value and interval; none where there are too few volumes."""
    import numpy as np

    from napari_memscan.detection.evidence import iterate_metrics
    from napari_memscan.detection.mitigation import QUALITY_METRICS, UNSEEN_COVERAGE

    if not names:
        return dict.fromkeys((*QUALITY_METRICS, UNSEEN_COVERAGE), (None, None))
    made = np.stack(list(iter_vectors(own, names)))
    common: dict[str, Any] = {"quantile": own.config.rule.quantile, "seed": own.config.seed}
    volumes: dict[str, Any] = {
        split: StudyVolumes(own.array, of)
        for split, of in (*paths.items(), (Split.SYNTHETIC, names))
    }
    found = {
        one.key: (one.value, one.interval)
        for one in iterate_metrics(
            QUALITY_METRICS, **vectors, synthetic=made, volumes=volumes, **common
        )
    }
    real, unseen = vectors[Split.TRAINING], vectors[Split.VALIDATION]
    if len(unseen) < 2:
        return found | {UNSEEN_COVERAGE: (None, None)}
    (new,) = iterate_metrics(
        ("coverage",), training=unseen, validation=real, synthetic=made, **common
    )
    return found | {UNSEEN_COVERAGE: (new.value, new.interval)}
