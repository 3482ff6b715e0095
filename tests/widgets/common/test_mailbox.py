"""What threads say arrives: all of it, in order, in the main thread."""

import gc
import threading

import pytest
from qtpy.QtCore import QObject, QThread, QThreadPool, Slot

from napari_memscan.widgets.common.mailbox import Mailbox
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner

WAIT = 60_000

pytestmark = pytest.mark.usefixtures("quick_garbage")


class Reader(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[object] = []
        self.threads: set[object] = set()

    @Slot(object)
    def take(self, news: object) -> None:
        self.read.append(news)
        self.threads.add(QThread.currentThread())


def test_letters_of_thousands_of_threads_that_end_at_once_all_arrive(qtbot):
    reader = Reader()

    def send(mailbox, first):
        for i in range(3):
            mailbox.send((first, i))

    for n in range(2000):
        # Nobody but the thread, which ends at once, holds the mailbox.
        threading.Thread(target=send, args=(Mailbox(reader.take), n)).start()
        if n % 200 == 0:
            gc.collect()
    qtbot.waitUntil(lambda: len(reader.read) == 6000, timeout=WAIT)
    for n in (0, 999, 1999):
        assert [letter for letter in reader.read if letter[0] == n] == [(n, i) for i in range(3)]
    assert reader.threads == {QThread.currentThread()}


def test_what_one_thread_says_keeps_its_order(qtbot):
    reader = Reader()
    mailbox = Mailbox(reader.take)
    thread = threading.Thread(target=lambda: [mailbox.send(i) for i in range(20_000)])
    thread.start()
    qtbot.waitUntil(lambda: len(reader.read) == 20_000, timeout=WAIT)
    assert reader.read == list(range(20_000))


def test_a_reader_that_is_gone_harms_nobody(qtbot):
    reader = Reader()
    mailbox, go_on = Mailbox(reader.take), threading.Event()
    thread = threading.Thread(target=lambda: (go_on.wait(10), mailbox.send(1)))
    thread.start()
    reader.deleteLater()
    with qtbot.waitSignal(reader.destroyed):
        pass
    go_on.set()
    thread.join()
    qtbot.wait(20)
    assert reader.read == []


@pytest.mark.parametrize("runners", [1, 3])
def test_of_thousands_of_quick_jobs_each_result_arrives_in_order(qtbot, runners):
    """One job starts where another one ends, with collections of garbage in between."""
    total = 1500 // runners
    heard = {JobRunner(): [] for _ in range(runners)}

    def job(n):
        yield n, "half"
        return n

    def begin(runner, n):
        assert runner.start(lambda: job(n))

    def hear(runner, outcome):
        heard[runner].append(outcome)
        n = sum(isinstance(news, JobOutcome) for news in heard[runner])
        if n % 100 == 0:
            gc.collect()
        if n < total:
            begin(runner, n)

    for runner, news in heard.items():
        runner.progressed.connect(news.append)
        runner.finished.connect(lambda outcome, r=runner: hear(r, outcome))
        begin(runner, 0)
    qtbot.waitUntil(lambda: all(len(n) == 2 * total for n in heard.values()), timeout=WAIT)
    wanted = [news for n in range(total) for news in ((n, "half"), JobOutcome(n))]
    assert all(news == wanted for news in heard.values())


def test_a_job_begins_behind_as_many_long_ones_as_there_are_threads(qtbot):
    go_on = threading.Event()
    long = [JobRunner() for _ in range(QThreadPool.globalInstance().maxThreadCount() + 1)]
    quick = JobRunner()
    for runner in long:
        runner.start(lambda: go_on.wait(30))
    with qtbot.waitSignal(quick.finished, timeout=WAIT) as heard:
        quick.start(lambda: 7)
    assert heard.args == [JobOutcome(7)]
    assert all(runner.busy for runner in long)
    go_on.set()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in long), timeout=WAIT)
    # Every place that was given free was taken back.
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=WAIT)


@pytest.mark.parametrize("error", [RuntimeError("disk full"), ValueError("odd"), MemoryError()])
def test_an_error_of_any_kind_is_an_outcome(qtbot, error):
    """napari's worker is silent for ever after a `RuntimeError`."""
    runner = JobRunner()

    def job():
        yield 1
        raise error

    with qtbot.waitSignal(runner.finished, timeout=WAIT) as heard:
        runner.start(job)
    assert heard.args[0].failure
    assert not runner.busy
