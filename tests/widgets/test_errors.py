"""What goes wrong while somebody reads: a message that says what to do, and the queue lives on."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from npe2 import PluginManifest
from sqlalchemy import event

from napari_memscan.study import Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.common.preferences import PLUGIN
from napari_memscan.widgets.dock.dock import GENERATE, REVIEW, MemscanWidget
from napari_memscan.widgets.review.actions import ReviewAction

WAIT = 60_000
# A real server: fixtures of another folder are not seen here.
_servers = SourceFileLoader("servers", str(Path(__file__).parents[1] / "review/conftest.py"))
_servers = _servers.load_module()
postgresql, url = _servers.postgresql, _servers.url


@pytest.fixture
def dock(qtbot):
    def settle(widget):
        qtbot.waitUntil(lambda: idle(widget), timeout=WAIT)
        widget.review.set_study(None)

    widget = MemscanWidget(ViewerModel())
    qtbot.addWidget(widget, before_close_func=settle)
    return widget


def idle(dock) -> bool:
    return not (dock.study.busy or dock.generate.busy or dock.review.busy or dock.viewing.loading)


def settle(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)


def open_study(qtbot, dock, folder) -> None:
    with qtbot.waitSignal(dock.study.opened, timeout=WAIT):
        dock.open_study(folder)
    settle(qtbot, dock)


def said(dock, level: str = "error") -> str:
    """The message of step 3; no traceback, and at that level."""
    message = dock.review_view.message
    assert message.level == level, message.text
    assert "Traceback" not in message.text
    assert not message.isHidden()
    return message.text


def decides(qtbot, dock) -> None:
    """The queue is usable: a decision is recorded, and the next volume is there."""
    review, queue = dock.review, dock.review_view.queue
    read, sample = review.progress[0], queue.current
    review.act(Decision.NOT_A_COPY)
    settle(qtbot, dock)
    assert review.progress[0] == read + 1
    assert review.items[sample].own.decision == "not a copy"
    assert queue.current != sample
    assert dock.review_view.message.level != "error"


@pytest.mark.parametrize("which", ["synthetic", "training"])
def test_a_file_that_is_missing_is_named_and_the_others_are_read(
    qtbot, dock, folder_study, parts, tmp_path, which
):
    study = Study.open(folder_study)
    first = study.result().samples[0]
    missing = study.path_of(first.name if which == "synthetic" else first.neighbour)
    away = shutil.move(missing, tmp_path / "away.nii.gz")
    try:
        open_study(qtbot, dock, folder_study)
        assert dock.step == REVIEW
        text = said(dock)
        assert missing.name in text
        assert "Restore this file" in text
        warnings = dock.study.study.cohort.warnings
        names = [layer.name.replace("\n", " ") for layer in dock.viewing.layers if layer.visible]
        if which == "synthetic":
            assert names == []
            dock.review.act(Decision.COPY)
            assert said(dock, "warning").startswith("Not recorded: the volumes cannot be shown.")
        else:
            assert len(names) == 4
            assert [": cannot be shown" in name for name in names] == [False, True, False, False]
            assert (
                f"1 of 28 files that the cohort names are missing, the first is {missing.name}"
                in (" ".join(warnings))
            )
        dock.review.act(ReviewAction.NEXT)
        settle(qtbot, dock)
        assert dock.viewing.layers[0].name.startswith(f"Synthetic {dock.review_view.queue.current}")
        decides(qtbot, dock)
    finally:
        shutil.move(away, missing)
    dock.review_view.queue.select(next(iter(dock.review.items)))
    settle(qtbot, dock)
    assert dock.viewing.layers[0].name.startswith("Synthetic made1.nii.gz")
    dock.review.act(Decision.COPY)
    settle(qtbot, dock)
    assert dock.review.progress[0] == 2


def full(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_memory_that_does_not_suffice_ends_a_regeneration_and_nothing_else(
    qtbot, dock, ldm_study, monkeypatch, npe2pm, plugin_settings
):
    from napari.settings import get_plugin_settings

    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    open_study(qtbot, dock, ldm_study)
    rejected = dock.review_view.queue.current
    # A model that asks for more than there is, of PyTorch, of NumPy, of a GPU; and one that is
    # too large to be loaded.
    for name, greedy in (
        ("checkpoints.latent_model.LatentModel.denoise", lambda *_: torch.empty(2**50)),
        ("generators.decoding.decode_latent", lambda *_: np.empty(2**50)),
        ("checkpoints.latent_model.LatentModel.denoise", full),
        ("generators.ldm.LDMGenerator.generate", lambda *_, **__: full()),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"napari_memscan.{name}", greedy)
            dock.review.act(ReviewAction.REGENERATE)
            settle(qtbot, dock)
            text = said(dock)
            dock.go_to(GENERATE)
            dock.generate_view.start_button.click()
            settle(qtbot, dock)
            dock.go_to(REVIEW)
            settle(qtbot, dock)
        for message in (text, dock.generate_view.message.text):
            assert "emory does not suffice" in message
            assert "Choose 'Use less memory' in File > Preferences > Memscan" in message
            assert "finished is kept" in message
            assert "--" not in message
            assert "CUDA_VISIBLE" not in message
    assert dock.review.items[rejected].replaced_by is None
    get_plugin_settings(PLUGIN).reading.less_memory = True
    decides(qtbot, dock)
    dock.review_view.queue.select(rejected)
    settle(qtbot, dock)
    dock.review.act(ReviewAction.REGENERATE)
    settle(qtbot, dock)
    made = dock.review.items[rejected].replaced_by
    (row,) = [row for row in Study.open(ldm_study).samples() if row.sample == made]
    assert row.settings.startswith("batch=1 ")
    assert " decode=window:" in row.settings


def test_a_server_that_is_gone_is_asked_once_and_reading_goes_on(
    qtbot, dock, folder_study, postgresql, url
):
    Study.open(folder_study).update(review={"store": url})
    open_study(qtbot, dock, folder_study)
    tried = []
    engine = dock.review.session.store.database.engine
    event.listen(engine, "do_connect", lambda *_: tried.append(1))

    def step() -> None:
        dock.review.act(ReviewAction.NEXT)
        settle(qtbot, dock)
        assert dock.viewing.layers[0].name.startswith(f"Synthetic {dock.review_view.queue.current}")

    postgresql.stop()
    try:
        step()
        assert "Check that the server runs" in said(dock)
        waited = len(tried)
        assert waited > 0
        for _ in range(3):
            step()
        assert len(tried) == waited
        dock.review.act(Decision.COPY)
        assert said(dock).startswith("Not recorded.")
    finally:
        postgresql.start()
    decides(qtbot, dock)


def test_a_store_that_somebody_locks_is_waited_for_and_then_named(qtbot, dock, folder_study):
    open_study(qtbot, dock, folder_study)
    store = dock.review.session.store
    # As in the program, only that nobody waits three seconds each time.
    event.listen(store.database.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=50"))
    store.database.engine.dispose()
    sample = dock.review_view.queue.current
    dock.review_view.decision.comment.setText("the same nodule")
    with closing(sqlite3.connect(store.where, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        dock.review.act(Decision.COPY)
        text = said(dock)
        assert text.startswith("Not recorded.")
        assert "no other program holds the file" in text
        assert "decide again" in text
        assert dock.review_view.queue.current == sample
        # What was typed is still there to be sent.
        assert dock.review_view.decision.comment.text() == "the same nodule"
        dock.review.act(ReviewAction.UNDO)
        assert "locked" in said(dock)
        # Reading goes on.
        dock.review.act(ReviewAction.NEXT)
        settle(qtbot, dock)
        assert dock.viewing.layers[0].name.startswith(f"Synthetic {dock.review_view.queue.current}")
        other.execute("ROLLBACK")
    decides(qtbot, dock)


def test_a_full_disk_records_nothing_and_says_so(qtbot, dock, folder_study, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4096k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; only root may")
    try:
        Study.open(folder_study).update(review={"store": str(disk / "decisions.sqlite")})
        open_study(qtbot, dock, folder_study)
        decides(qtbot, dock)
        fill = disk / "fill"
        free = os.statvfs(disk)
        fill.write_bytes(b"\0" * (free.f_bavail * free.f_frsize))
        sample = dock.review_view.queue.current
        # A few pages may still be free inside the files that are there.
        for _ in range(200):
            dock.review_view.decision.comment.setText("x" * 4000)
            dock.review.act(Decision.UNSURE)
            if dock.review_view.message.level == "error":
                break
            dock.review_view.queue.select(sample)
            settle(qtbot, dock)
        text = said(dock)
        assert text.startswith("Not recorded.")
        assert "full" in text
        n = len(dock.review.session.store.history())
        fill.unlink()
        decides(qtbot, dock)
        assert len(dock.review.session.store.history()) == n + 1
    finally:
        qtbot.waitUntil(lambda: idle(dock), timeout=WAIT)
        dock.review.set_study(None)
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("name", ["summary.json", "verdicts.parquet", "neighbours.parquet"])
def test_a_damaged_scan_is_scanned_again(qtbot, dock, folder_study, name):
    path = folder_study / "scan" / name
    path.write_bytes(path.read_bytes()[:40])
    open_study(qtbot, dock, folder_study)
    text = said(dock)
    assert "cannot be read" in text
    assert "Scan again" in text
    assert dock.step == GENERATE
    with qtbot.waitSignal(dock.generate.changed, timeout=WAIT):
        dock.generate_view.scan_button.click()
    settle(qtbot, dock)
    dock.go_to(REVIEW)
    settle(qtbot, dock)
    decides(qtbot, dock)
