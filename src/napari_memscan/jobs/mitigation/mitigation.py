"""Measures against copying, tried on a study's own model and counted with one ruler."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json
from napari_memscan.generators.interface import Settings
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.mitigation.retraining import elsewhere, retrained
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.replacement.regenerate import memory_explained
from napari_memscan.jobs.replacement.until_clean import MOST, ROUND, drawn, missed_of
from napari_memscan.jobs.sampling.generate import condition_for, generate
from napari_memscan.jobs.scan.metrics import volumes_of
from napari_memscan.jobs.scan.scan import embedded, scan
from napari_memscan.samples import SampleRow
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.detection.mitigation import Measure, Mitigation
    from napari_memscan.detection.results.scan_result import SampleResult, ScanResult
    from napari_memscan.generators.interface import Step

FOLDER = "mitigation"
"""In the study: a study of its own for the volumes, the page and the numbers."""
FILE, PAGE = "mitigation.json", "index.html"

STRENGTH = 2.0
"""Of guidance, where nobody says another."""
LEAST = 6
"""Volumes whose precision and coverage can be told at all: one more than `coverage.NEAREST`."""

Row = tuple[SampleRow, "SampleResult"]


def mitigation(
    study: Study, n: int = 64, *, guidance: float = STRENGTH, most: int | None = None
) -> Generator[Step | Progress, None, Mitigation]:
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
        As `generate` and `scan` do. Stopped, it goes on and gives the same bytes.

    Returns
    -------
    Mitigation
        Also in the study's ``mitigation/mitigation.json`` and, to be read, ``index.html``.

    Raises
    ------
    BadInput
        The model allows no guidance, volumes are made elsewhere, or the folder is of another model.
    """
    from napari_memscan.report.mitigation import write_page

    most = MOST * n if most is None else most
    if n < 2 or most < n or guidance <= 0:
        raise BadInput(
            f"{n} of at most {most} volumes, guidance {guidance:g}: at least 2, at most no fewer "
            "than that, and a strength above 0."
        )
    if processes.place()[1] > 1:
        raise BadInput("volumes that are scanned in between cannot be drawn by several processes.")
    config = study.config.generator
    if config is None or config.kind == "folder":
        raise BadInput(
            f"{study.folder}: no model to try measures on. Choose an LDM checkpoint as the study's "
            "generator."
        )
    own = _own(study)
    _adopted(study, own, n)
    step, total = ceil(n / ROUND), n
    while total < min(max(drawn(own), drawn(own, guidance)), most):
        total = min(total + step, most)
    with memory_explained():
        while True:
            yield from generate(own, total)
            yield from generate(own, total, guidance=guidance)
            result = yield from scan(own)
            ways = _by_way(own, result, guidance)
            passed = {way: _passed(study, rows) for way, rows in ways.items()}
            if total >= most or all(len(rows) >= n for rows in passed.values()):
                break
            total = min(total + step, most)
    sets = {
        "plain": (ways["plain"][:n], ways["plain"][:n]),
        "screening": _least(ways["plain"], passed["plain"], n),
        "guidance": (ways["guided"][:n], ways["guided"][:n]),
        "screening and guidance": _least(ways["guided"], passed["guided"], n),
    }
    found = yield from _measured(study, own, result, sets, n, guidance)
    write_json(own.folder / FILE, found.to_dict())
    write_page(own.folder / PAGE, found)
    return found


def _own(study: Study) -> Study:
    """Open the study in the study, or make it: same model, cohort and detector."""
    from napari_memscan.checkpoints.trusted.spec import resolved
    from napari_memscan.embedders.loading import LOW_RESOLUTION

    config = study.config
    assert config.generator is not None
    changes = {
        "name": f"{config.name}: mitigation",
        "generator": config.generator.model_copy(
            update={"path": resolved(config.generator.path, study.folder)}
        ),
        "embedder": (
            config.embedder
            if config.embedder == LOW_RESOLUTION
            else resolved(config.embedder, study.folder)
        ),
    }
    wanted = config.model_copy(update=changes)
    folder = study.folder / FOLDER
    if (folder / "study.toml").exists():
        own = Study.open(folder)
        same = own.config.model_copy(update={"warnings": ()})
        if same != wanted.model_copy(update={"warnings": ()}):
            raise BadInput(
                f"{folder}: was made with another model, embedder, rule or preprocessing than the "
                "study has now. Move or delete this folder."
            )
    else:
        own = Study.create(folder, wanted, study.cohort)
    own.cache_dir = study.cache_dir
    return own


def _adopted(study: Study, own: Study, n: int) -> None:
    """Take over the plain volumes that the study has; their files stay where they are."""
    if own.samples():
        return
    generator = own.generator()
    first = study.config.seed
    asked = {(str(s), condition_for(own, generator, s)) for s in range(first, first + n)}
    for row in study.samples():
        mine = (row.seed, row.condition) in asked
        if mine and not row.parent and "guidance=" not in row.settings:
            own.add_sample(SampleRow(**vars(row) | {"path": str(study.sample_path(row))}))


def _by_way(own: Study, result: ScanResult, strength: float) -> dict[str, list[Row]]:
    """Return all plain and all guided volumes with what the scan says, in the order of seeds."""
    judged = {sample.path: sample for sample in result.samples}
    ways: dict[str, list[Row]] = {"plain": [], "guided": []}
    for row in sorted(own.samples(), key=lambda row: int(row.seed)):
        guided = Settings.parse(row.settings).guidance.partition(":")[0]
        if guided in ("", f"{strength:g}"):
            ways["guided" if guided else "plain"].append((row, judged[str(own.sample_path(row))]))
    return ways


def _passed(study: Study, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row[1].verdict in study.config.release.rule]


def _least(drawn_: Sequence[Row], passed: Sequence[Row], n: int) -> tuple[Sequence[Row], list[Row]]:
    """Return what had to be drawn for the first `n` that passed, and these."""
    kept = list(passed[:n])
    if len(kept) < n:
        return drawn_, kept
    return drawn_[: drawn_.index(kept[-1]) + 1], kept


def _measured(
    study: Study,
    own: Study,
    result: ScanResult,
    sets: dict[str, tuple[Sequence[Row], list[Row]]],
    n: int,
    strength: float,
) -> Generator[Progress, None, Mitigation]:
    import numpy as np

    from napari_memscan.detection.mitigation import Mitigation

    paths = {split: [row.path for row in own.cohort.rows(split)]
             for split in ("training", "validation")}  # fmt: skip
    vectors = {split: np.stack(list(embedded(own, names))) for split, names in paths.items()}
    # A measure that leaves next to nothing must not keep the others from being compared.
    m = min((len(rows) for _, rows in sets.values() if len(rows) >= LEAST), default=0)
    measures: list[Measure] = []
    for done, (name, (all_drawn, rows)) in enumerate(sets.items()):
        yield Progress(done, len(sets), f"quality of {name}")
        names = [str(own.sample_path(row)) for row, _ in rows[:m]] if len(rows) >= m else []
        quality = _quality(own, paths, vectors, names)
        measures.append(_measure(study, result, name, all_drawn, rows, quality))
    rows_of_model = own.samples()
    return Mitigation(
        title=study.config.name,
        checkpoint=rows_of_model[0].checkpoint_hash,
        rule=result.rule,
        wanted=n,
        strength=strength,
        sizes={**{split: len(names) for split, names in paths.items()}, "quality": m},
        measures=tuple(measures),
        elsewhere=elsewhere(study),
        retrained=retrained(study),
        warnings=result.warnings,
    )


def _measure(
    study: Study,
    result: ScanResult,
    name: str,
    all_drawn: Sequence[Row],
    rows: Sequence[Row],
    quality: Any,
) -> Measure:
    from napari_memscan.detection.mitigation import Measure

    def count(verdict: str, among: Sequence[Row] = rows) -> int:
        return sum(one.verdict == verdict for _, one in among)

    def called(among: Sequence[Row]) -> int:
        return count("copy", among) + count("near-duplicate", among)

    others = {
        rule.name: sum(one.similarity > rule.threshold for _, one in rows)
        for rule in result.rules
        if not rule.decides and rule.measure == "similarity" and rule.threshold is not None
    }
    missed = missed_of(study, result, called(all_drawn), len(rows) - called(rows))
    return Measure(
        name, len(all_drawn), len(rows), count("copy"), count("near-duplicate"), count("undecided"),
        others, quality, str(missed or "not known: run memscan selftest"),
    )  # fmt: skip


def _quality(
    own: Study, paths: dict[str, list[str]], vectors: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Return metric to value and interval; none where there are too few volumes."""
    import numpy as np

    from napari_memscan.detection.evidence import evaluations
    from napari_memscan.detection.mitigation import QUALITY, UNSEEN

    if not names:
        return dict.fromkeys((*QUALITY, UNSEEN), (None, None))
    made = np.stack(list(embedded(own, names)))
    common: dict[str, Any] = {"quantile": own.config.rule.quantile, "seed": own.config.seed}
    volumes = {split: volumes_of(own, of) for split, of in (*paths.items(), ("synthetic", names))}
    found = {
        one.key: (one.value, one.interval)
        for one in evaluations(QUALITY, **vectors, synthetic=made, volumes=volumes, **common)
    }
    real, unseen = vectors["training"], vectors["validation"]
    if len(unseen) < 2:
        return found | {UNSEEN: (None, None)}
    (new,) = evaluations(("coverage",), training=unseen, validation=real, synthetic=made, **common)
    return found | {UNSEEN: (new.value, new.interval)}
