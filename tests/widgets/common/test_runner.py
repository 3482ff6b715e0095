"""Jobs in a thread: progress, results, failures, stops."""

import threading

import numpy as np
import pytest
import torch

from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner


@pytest.fixture
def runner(qtbot):
    return JobRunner()


def outcome_of(qtbot, runner, make) -> JobOutcome:
    with qtbot.waitSignal(runner.finished, timeout=5000) as signal:
        assert runner.start(make)
    return signal.args[0]


def test_yields_arrive_in_the_main_thread_and_the_result_last(qtbot, runner):
    threads = []
    main = threading.current_thread()

    def job():
        threads.append(threading.current_thread())
        yield 1
        yield 2
        return "done"

    news = []
    runner.progressed.connect(lambda item: news.append((item, threading.current_thread())))
    assert outcome_of(qtbot, runner, job) == JobOutcome("done")
    assert news == [(1, main), (2, main)]
    assert threads[0] is not main
    assert not runner.busy


def test_a_function_without_progress_is_a_job_too(qtbot, runner):
    assert outcome_of(qtbot, runner, lambda: 7) == JobOutcome(7)


def test_a_failure_keeps_its_words(qtbot, runner):
    # JobFailed is a RuntimeError, which napari's worker takes for a result.
    def job():
        yield 1
        raise JobFailed("the disk is full")

    assert outcome_of(qtbot, runner, job) == JobOutcome(failure="the disk is full")


def test_what_the_window_has_is_said_in_place_of_commands(qtbot, runner):
    def fails():
        yield 1
        raise BadInput("2 are unread.", Hint(HintKind.READ, "/study"))

    told = outcome_of(qtbot, runner, fails).failure
    assert told == "2 are unread. Read them first in step 3."


@pytest.mark.parametrize(
    "full",
    [
        lambda: torch.empty(2**50),
        lambda: np.empty(2**50),
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.")),
    ],
)
def test_memory_that_does_not_suffice_is_no_riddle(qtbot, runner, full):
    failure = outcome_of(qtbot, runner, full).failure
    assert failure.startswith("Memory does not suffice. Choose 'Use less memory'")
    assert "--" not in failure


def test_an_unexpected_error_is_said_and_logged_without_a_traceback_on_screen(
    qtbot, runner, caplog
):
    def job():
        yield 1
        raise KeyError("oops")

    outcome = outcome_of(qtbot, runner, job)
    assert "KeyError" in outcome.failure
    assert "Traceback" not in outcome.failure
    assert "Traceback" in caplog.text


def test_stop_ends_at_the_next_yield_and_closes_the_job_in_its_thread(qtbot, runner):
    begun, go_on = threading.Event(), threading.Event()
    steps, closed_in = [], []

    def job():
        try:
            for i in range(1000):
                steps.append(i)
                begun.set()
                go_on.wait(5)
                yield i
        finally:
            closed_in.append(threading.current_thread())

    with qtbot.waitSignal(runner.finished, timeout=5000) as signal:
        runner.start(job)
        assert begun.wait(5)
        runner.stop()
        go_on.set()
    assert signal.args[0] == JobOutcome(stopped=True)
    assert steps == [0]
    assert closed_in[0] is not threading.current_thread()


def test_one_job_at_a_time(qtbot, runner):
    go_on = threading.Event()
    with qtbot.waitSignal(runner.finished, timeout=5000):
        assert runner.start(lambda: go_on.wait(5))
        assert not runner.start(lambda: None)
        go_on.set()
