"""What a study can show in a blind study, and how its arrays are loaded."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.jobs.planting import strangers
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.searching import StudySearch, Task, plain, read
from napari_memscan.review.blind import BlindPlan, Exhibit, Held, plan
from napari_memscan.review.plans import load_plans, save_plan
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.review.reading import BlindReading
    from napari_memscan.review.store import DecisionStore

FOLDER = "blind"
"""Of a study's plans."""


def exhibits(study: Study) -> Generator[Progress, None, list[Exhibit]]:
    """Return the samples of the last scan, and the validation volumes as distractors.

    Validation volumes are shown as the study's generator would have made them, where it has an
    autoencoder that fits, and beside the training volume that the same search finds: neither their
    sharpness nor their partner tells them from samples.

    Raises
    ------
    BadInput
        There is no scan yet, or no validation volume.
    """
    result = study.result()
    if result is None:
        raise BadInput(f"{study.folder}: not scanned yet. Generate volumes and scan first.")
    names = {str(study.sample_path(row)): row.sample for row in study.samples()}
    made = [
        Exhibit(
            name=names[s.path],
            kind="synthetic",
            shown=Held(s.path),
            partner=Held(s.neighbour),
            verdict=s.verdict,
            value=float(result.value(s)),
            transform=s.neighbours[0].transform if s.neighbours else None,
        )
        for s in result.samples
        if s.path in names
    ]
    made += yield from _distractors(study)
    return made


def _distractors(study: Study) -> Generator[Progress, None, list[Exhibit]]:
    import numpy as np

    from napari_memscan.jobs.scanning import embedded

    rows = study.cohort.rows("validation")
    training = [row.path for row in study.cohort.rows("training")]
    vectors = []
    for done, vector in enumerate(embedded(study, training), 1):
        vectors.append(vector)
        yield Progress(done, len(training), f"embedded {Path(training[done - 1]).name}")
    search = StudySearch(study, training, np.stack(vectors))
    own = embedded(study, [row.path for row in rows])
    tasks = [plain(study, r.path, v, r.subject_id) for r, v in zip(rows, own, strict=True)]
    shown = yield from strangers(study, tasks)
    nearest = yield from _nearest(study, search, shown)
    return [
        Exhibit(
            name=f"v{i:06d}",
            kind="distractor",
            shown=Held(row.path, "" if task.key == crisp.key else task.key),
            partner=Held(training[at]),
            transform=transform,
        )
        for i, (row, crisp, task, (at, transform)) in enumerate(
            zip(rows, tasks, shown, nearest, strict=True)
        )
    ]


def _nearest(
    study: Study, search: StudySearch, tasks: Sequence[Task]
) -> Generator[Progress, None, list[tuple[int, tuple[float, ...] | None]]]:
    """Return the row of each one's nearest training volume, and the pose on it."""
    import numpy as np

    if study.config.verification.enabled:
        found = yield from search.run(tasks)
        return [(f.index, tuple(f.hits[0].evidence.transform.ravel().tolist())) for f in found]
    _, rows = search.index.kneighbors(np.stack([task.vector for task in tasks]), 1)
    return [(int(row[0]), None) for row in rows]


def blind(
    study: Study, reader: str, *, again: bool = False, now: datetime | None = None, **options: Any
) -> Generator[Progress, None, BlindPlan]:
    """Return a reader's plan: the one on disk, else a new one, which is put there.

    Parameters
    ----------
    study : Study
    reader : str
        Whose.
    again : bool
        A new one although there is one.
    now : datetime, optional
        For the washout.
    **options
        Of `review.blind.plan`; the seed is the study's unless given.
    """
    folder, forced = study.folder / FOLDER, bool(options.get("forced_choice", False))
    there = [
        p for p in load_plans(folder) if p.reader == reader.strip() and p.forced_choice == forced
    ]
    if there and not again:
        return there[-1]
    shown = yield from exhibits(study)
    store = study.store()
    try:
        last_seen = store.standing().last_seen(reader)
    finally:
        store.close()
    seed = options.pop("seed", study.config.seed + len(there))
    made = plan(shown, reader, seed, last_seen=last_seen, now=now, **options)
    save_plan(made, folder)
    return made


def reading(study: Study, made: BlindPlan, store: DecisionStore) -> BlindReading:
    """Return the session of a plan, with arrays from the study."""
    from napari_memscan.review.reading import BlindReading

    def load(held: Held) -> Any:
        if not held.array:
            return study.array(held.path)
        if not study.cache.has(held.array):
            raise BadInput(f"{held.path}: no longer in the cache. Make a new plan.")
        return read(study.cache.path(held.array))

    return BlindReading(made, store, load)
