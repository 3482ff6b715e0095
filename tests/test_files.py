"""Files and folders are whole or as they were, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from napari_memscan import files
from napari_memscan.errors import JobFailed
from napari_memscan.files import append_text, build_folder, put_folder


@pytest.mark.parametrize("exchange", [True, False])
def test_what_stood_there_stays_until_all_is_written(tmp_path, exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(files, "_exchange_paths", lambda *_: False)
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), build_folder(out) as folder:
        (folder / "new").write_text(str(1 / 0))
    assert [p.name for p in out.iterdir()] == ["old"]
    with build_folder(out) as folder:
        (folder / "new").write_text("new")
        assert [p.name for p in out.iterdir()] == ["old"]
    assert [p.name for p in out.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(JobFailed, match="cannot be written"),
        build_folder(tmp_path / "file" / "out"),
    ):
        pass


CHILD = """
import sys
from pathlib import Path
from napari_memscan.files import put_folder
out, new = Path(sys.argv[1]), Path(sys.argv[1] + ".new")
at = 0
while True:
    new.mkdir()
    for i in range(20):
        (new / str(i)).write_text(str(at))
    put_folder(new, out)
    print(at, flush=True)
    at += 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems exchange in their own ways")
def test_a_folder_is_there_and_whole_at_every_moment_even_when_its_writer_is_killed(tmp_path):
    out = tmp_path / "best"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert (out / "0").exists()
    os.kill(child.pid, signal.SIGKILL)
    told = [0, *map(int, child.communicate()[0].split())][-1]
    held = {(out / str(i)).read_text() for i in range(20)}
    assert len(held) == 1
    assert int(held.pop()) >= told
    new = tmp_path / "later"
    new.mkdir()
    (new / "0").write_text("later")
    put_folder(new, out)
    assert [p.name for p in out.iterdir()] == ["0"]
    assert not new.exists()


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="/dev/full is Linux's")
def test_a_full_disk_is_named_when_text_is_added(tmp_path):
    append_text(tmp_path / "log", "a\n")
    append_text(tmp_path / "log", "é\n", durable=True)
    assert (tmp_path / "log").read_text() == "a\né\n"
    with pytest.raises(JobFailed, match="disk is full"):
        append_text("/dev/full", "a")
