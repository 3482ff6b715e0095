"""A window that is killed loses nothing that it said was decided, and a regeneration goes on."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
from napari.components import ViewerModel

from napari_memscan import jobs
from napari_memscan.review.audit import audit_store
from napari_memscan.study import Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.dock.dock import REVIEW, MemscanWidget

GUIDANCE = {"guidance": Preferences().guidance, "must_guide": False}
"""As the window regenerates."""
WAIT = 60_000

READER = """
import sys
from itertools import count
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.typing import Decision
from napari_memscan.widgets.review.actions import ReviewAction
from napari_memscan.widgets.dock.dock import MemscanWidget

application = QApplication([])
dock = MemscanWidget(ViewerModel())
dock.review_view.reader.setText("R. Reader")
NAMES = list(Decision)
turns = count()

def tell(*words):
    print(*words, sep="|", flush=True)

def read():
    # On and on: somebody kills this in the middle of something.
    queue, n = dock.review_view.queue, next(turns)
    queue.select(list(dock.review.items)[n % len(dock.review.items)])
    dock.review_view.decision.comment.setText(f"turn {n}")
    decide(n)

def decide(n):
    # What is not on the screen yet is not decided.
    if dock.viewing.loading:
        return QTimer.singleShot(1, lambda: decide(n))
    sample, name = dock.review_view.queue.current, NAMES[n % 3]
    dock.review.act(name)
    assert dock.review.items[sample].own.note == f"turn {n}", dock.review_view.message.text
    tell("decided", sample, name, f"turn {n}")
    QTimer.singleShot(0, read)

def regenerate():
    if dock.viewing.loading:
        return QTimer.singleShot(1, regenerate)
    dock.review.act(Decision.NOT_A_COPY)
    sample = list(dock.review.items)[0]
    dock.review_view.queue.select(sample)
    bar = dock.review_view.decision.bar
    bar.valueChanged.connect(lambda n: tell("news", n, bar.format()))
    tell("rejected", sample)
    dock.review.act(ReviewAction.REGENERATE)

dock.study.opened.connect(lambda study: QTimer.singleShot(200, globals()[sys.argv[2]]))
dock.open_study(sys.argv[1])
application.exec()
"""


def killed(folder: Path, does: str, last) -> list[list[str]]:
    """Read in a process of its own, kill it at the first line that is the last; return all."""
    told: list[list[str]] = []
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(folder), does],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        # Nobody waits for ever for a line that does not come.
        alarm = threading.Timer(120, process.terminate)
        alarm.start()
        for line in process.stdout:
            told.append(line.strip().split("|"))
            if last(told):
                process.send_signal(signal.SIGKILL)
                break
        alarm.cancel()
        assert process.wait(60) == -signal.SIGKILL, told
        # What it had said already when it was killed counts, too, but for half a line.
        rest = process.stdout.read()
    told += [line.split("|") for line in rest.split("\n")[:-1]]
    return told


def events(folder: Path):
    """What the store holds; it must be whole."""
    store = Study.open(folder).store(read_only=True)
    try:
        found = audit_store(store)
        assert found.intact, str(found)
        return store.history()
    finally:
        store.close()


@pytest.fixture
def reopened(qtbot):
    """Return a function that opens a study in a new dock."""
    docks = []

    def idle(dock) -> bool:
        return not (dock.study.busy or dock.review.busy or dock.viewing.loading)

    def settle(dock) -> None:
        qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)

    def make(folder: Path):
        dock = MemscanWidget(ViewerModel())
        qtbot.addWidget(dock)
        dock.review_view.reader.setText("R. Reader")
        docks.append(dock)
        with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
            dock.open_study(folder)
        settle(dock)
        dock.settle = lambda: settle(dock)
        return dock

    yield make
    for dock in docks:
        settle(dock)
        dock.review.set_study(None)


def test_what_was_decided_when_the_window_was_killed_is_there(folder_study, reopened):
    told = killed(folder_study, "read", lambda told: len(told) == 9)
    said = [line[1:] for line in told]
    assert len(said) >= 9
    stored = [[e.sample, e.decision, e.note] for e in events(folder_study)]
    assert stored[: len(said)] == said
    # At most the one that was on its way.
    assert len(stored) <= len(said) + 1

    dock = reopened(folder_study)
    assert dock.step == REVIEW
    last = {sample: (decision, note) for sample, decision, note in stored}
    items = dock.review.items
    assert {n: (i.own.decision, i.own.note) for n, i in items.items() if i.own} == last
    # The claim of the window that is gone blocks nobody here.
    dock.review_view.queue.select(said[0][0])
    dock.settle()
    assert dock.viewing.layers[0].name.startswith(f"Synthetic {said[0][0]}")
    dock.review.act(Decision.UNSURE)
    assert dock.review_view.message.level != "error"
    assert events(folder_study)[-1].sample == said[0][0]
    assert len(events(folder_study)) == len(stored) + 1


@pytest.fixture(scope="module")
def regenerated(_scanned, tmp_path_factory):
    """Return a function that regenerates a sample, undisturbed, and returns the study."""

    @cache
    def make(rejected: str) -> Study:
        folder = tmp_path_factory.mktemp("whole") / "study"
        study = Study.open(Path(shutil.copytree(_scanned, folder)))
        (again,) = jobs.run_job(jobs.regenerate_samples(study, [rejected], **GUIDANCE))
        assert again.rejected == rejected
        return Study.open(folder)

    return make


@pytest.mark.parametrize("news", [2, 7])
def test_a_regeneration_that_was_killed_goes_on_to_the_same_bytes(
    ldm_study, reopened, regenerated, news
):
    told = killed(
        ldm_study, "regenerate", lambda told: sum(line[0] == "news" for line in told) == news
    )
    (rejected,) = [line[1] for line in told if line[0] == "rejected"]
    assert [e.decision for e in events(ldm_study)] == ["not a copy"]

    dock = reopened(ldm_study)
    assert dock.step == REVIEW
    # Killed in its scan, the last scan stands and knows nothing of the replacement.
    dock.review_view.queue.select(rejected)
    dock.settle()
    dock.review_view.decision.buttons["regenerate"].click()
    dock.settle()
    assert dock.review_view.message.level in ("ok", "warning"), dock.review_view.message.text
    made = dock.review.items[rejected].replaced_by
    assert made is not None
    one, other = Study.open(ldm_study), regenerated(rejected)
    assert [(r.sample, r.seed, r.parent) for r in one.samples()] == [
        (r.sample, r.seed, r.parent) for r in other.samples()
    ]
    for row, same in zip(one.samples(), other.samples(), strict=True):
        assert one.sample_path(row).read_bytes() == other.sample_path(same).read_bytes()
