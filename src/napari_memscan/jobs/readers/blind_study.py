"""What a study can show in a blind study, and how its arrays are loaded."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.jobs.scan.volumes import list_entries, open_chain, prepare_splits
from napari_memscan.progress import Progress
from napari_memscan.review.blind_plan import (
    ArrayLocation,
    BlindPlan,
    Exhibit,
    ExhibitKind,
    draw_blind_plan,
)
from napari_memscan.review.plan_files import load_plans, save_plan
from napari_memscan.study import Study
from napari_memscan.typing import Split, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from napari_memscan.detection.pipeline import DetectionChain
    from napari_memscan.detection.retrieval.search import SearchResult
    from napari_memscan.detection.retrieval.training_search import SearchTask
    from napari_memscan.review.blind_session import BlindSession
    from napari_memscan.review.store import DecisionStore

BLIND_FOLDER = "blind"
"""Of a study's plans."""
BLIND_SEED = 3
"""Other planted volumes than those that limits are learnt from and the self-test plants."""


def collect_exhibits(study: Study, n_planted: int = 0) -> Generator[Progress, None, list[Exhibit]]:
    """Return the samples of the last scan, validation volumes as distractors, and planted copies.

    Validation volumes and planted copies are shown as the study's generator would have made them,
    where it has an autoencoder that fits: their sharpness does not tell them from samples.

    Parameters
    ----------
    study : Study
    n_planted : int
        Copies made on purpose of training volumes, so that there are cases known to be one.

    Raises
    ------
    BadInput
        There is no scan yet, or no validation volume.
    """
    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet. Generate volumes and scan first.")
    made = [
        Exhibit(
            name=s.name,
            kind=ExhibitKind.SYNTHETIC,
            shown=ArrayLocation(s.name),
            partner=ArrayLocation(s.neighbour),
            verdict=s.verdict,
            value=float(result.value(s)),
            transform=s.neighbours[0].transform if s.neighbours else None,
        )
        for s in result.samples
    ]
    tasks = yield from prepare_splits(study, list_entries(study, Split.TRAINING, Split.VALIDATION))
    chain = open_chain(study, tasks[Split.TRAINING])
    made += yield from _collect_distractors(study, chain, tasks[Split.VALIDATION])
    if n_planted:
        made += yield from _collect_planted(study, chain, n_planted)
    return made


def _collect_distractors(
    study: Study, chain: DetectionChain, tasks: Sequence[SearchTask]
) -> Generator[Progress, None, list[Exhibit]]:
    """Return the validation volumes, each beside what the search finds nearest."""
    import numpy as np

    rows, training = (study.cohort.rows(split) for split in (Split.VALIDATION, Split.TRAINING))
    shown = yield from chain.decode(tasks)
    nearest: list[tuple[int, tuple[float, ...] | None]]
    if study.config.verification.enabled:
        found = yield from chain.search.run(shown)
        nearest = [(f.index, _find_pose(f, f.index)) for f in found]
    else:
        assert chain.search.index is not None
        vectors = np.stack([task.vector for task in shown if task.vector is not None])
        nearest = [(int(near[0]), None) for near in chain.search.index.kneighbors(vectors, 1)[1]]
    return [
        Exhibit(
            name=row.name,
            kind=ExhibitKind.DISTRACTOR,
            shown=ArrayLocation(row.name, "" if task.key == crisp.key else task.key),
            partner=ArrayLocation(training[at].name),
            transform=transform,
        )
        for row, crisp, task, (at, transform) in zip(rows, tasks, shown, nearest, strict=True)
    ]


def _collect_planted(
    study: Study, chain: DetectionChain, n: int
) -> Generator[Progress, None, list[Exhibit]]:
    """Return copies made on purpose, each beside the training volume it is a copy of."""
    from napari_memscan.detection.planting.plants import LIMIT_KINDS

    config, training = study.config, study.cohort.rows(Split.TRAINING)
    kinds, sources = LIMIT_KINDS[Verdict.COPY], chain.training
    # As many of each kind as can be, whatever the number.
    of = [
        chain.draw([kind], -(-n // len(kinds)), sources, config.preprocessing.shape, BLIND_SEED)
        for kind in kinds
    ]
    plants = [one for row in zip(*of, strict=True) for one in row][:n]
    tasks = yield from chain.perturb(plants, sources, "planted")
    poses: list[tuple[float, ...] | None] = [None] * len(tasks)
    if config.verification.enabled:
        # Asked for with the patient's own vector: then the patient is registered in any case.
        asked = [
            replace(t, vector=sources[one.source].vector)
            for t, one in zip(tasks, plants, strict=True)
        ]
        found = yield from chain.search.run(asked)
        poses = [_find_pose(f, one.source) for f, one in zip(found, plants, strict=True)]
    for task in tasks:
        study.cache.get(task.key, task.load)
    return [
        Exhibit(
            name=f"p{i:06d}",
            kind=ExhibitKind.PLANTED,
            shown=ArrayLocation(training[one.source].name, task.key),
            partner=ArrayLocation(training[one.source].name),
            transform=pose,
        )
        for i, (one, task, pose) in enumerate(zip(plants, tasks, poses, strict=True))
    ]


def _find_pose(found: SearchResult, index: int) -> tuple[float, ...] | None:
    """Return the pose on a training volume; None where the search did not register that one."""
    for hit in found.hits:
        if hit.index == index:
            return tuple(hit.evidence.transform.ravel().tolist())
    return None


def find_latest_plan(study: Study, reader: str, forced_choice: bool) -> BlindPlan | None:
    """Return the last plan that was made for a reader, None without one.

    Raises
    ------
    BadInput
        A plan of the study is damaged.
    """
    every = _load_reader_plans(study.folder, reader, forced_choice)
    return every[-1] if every else None


def _load_reader_plans(folder: Path, reader: str, forced: bool) -> list[BlindPlan]:
    plans = load_plans(folder / BLIND_FOLDER)
    return [p for p in plans if p.reader == reader.strip() and p.forced_choice == forced]


def split_case_count(cases: int | None, forced_choice: bool) -> dict[str, int]:
    """Return what `review.blind_plan.draw_blind_plan` makes so many cases in all from; None: all.

    A third of them are validation volumes; in a forced choice there is one in each case.
    """
    if cases is None:
        return {}
    if forced_choice:
        return {"n_cases": cases}
    real = max(1, cases // 3)
    return {"n_cases": max(1, cases - real), "n_distractors": real}


def prepare_blind_plan(
    study: Study,
    reader: str,
    *,
    again: bool = False,
    n_planted: int = 0,
    now: datetime | None = None,
    **options: Any,
) -> Generator[Progress, None, BlindPlan]:
    """Return a reader's plan: the one on disk, else a new one, which is put there.

    Parameters
    ----------
    study : Study
    reader : str
        Whose.
    again : bool
        A new one although there is one.
    n_planted : int
        See `collect_exhibits`.
    now : datetime, optional
        For the washout.
    **options
        Of `review.blind_plan.draw_blind_plan`; the seed is the study's unless given.
    """
    there = _load_reader_plans(study.folder, reader, bool(options.get("forced_choice", False)))
    if there and not again:
        return there[-1]
    shown = yield from collect_exhibits(study, n_planted)
    store = study.store()
    try:
        last_seen = store.standing().last_seen(reader)
    finally:
        store.close()
    seed = options.pop("seed", study.config.seed + len(there))
    made = draw_blind_plan(shown, reader, seed, last_seen=last_seen, now=now, **options)
    save_plan(made, study.folder / BLIND_FOLDER)
    return made


def open_blind_session(study: Study, made: BlindPlan, store: DecisionStore) -> BlindSession:
    """Return the session of a plan, with arrays from the study."""
    from napari_memscan.review.blind_session import BlindSession

    def load(held: ArrayLocation) -> Any:
        if not held.array:
            return study.array_of(held.name)

        def give_up() -> Any:
            raise BadInput(f"{held.name}: no longer in the cache. Make a new plan.")

        return study.cache.get(held.array, give_up)

    return BlindSession(made, store, load)
