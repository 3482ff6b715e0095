"""The table of samples is whole and in order, however many rows come and whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_memscan.errors import BadInput
from napari_memscan.samples import SampleRow, add_sample_rows, read_samples, write_samples


def make_row(i, **values):
    return SampleRow(f"s{i:06d}", f"s{i:06d}.nii.gz", str(i), settings="batch=1, x", **values)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3000000), max_size=4), max_size=5),
    st.sampled_from(["", "left", 'a "b", c']),
)
def test_rows_come_out_sorted_in_whatever_batches_they_went_in(
    tmp_path_factory, batches, condition
):
    path = tmp_path_factory.mktemp("table") / "samples.csv"
    unique = sorted({i for batch in batches for i in batch})
    todo, last = set(unique), unique[-1:]
    for batch in batches:
        rows = []
        for i in batch:
            if i in todo:
                todo.discard(i)
                rows.append(make_row(i, condition=condition if [i] == last else ""))
        add_sample_rows(path, rows)
    expected = [make_row(i, condition=condition if [i] == last else "") for i in unique]
    assert read_samples(path) == expected
    if unique:
        appended = path.read_bytes()
        write_samples(path, expected)
        assert path.read_bytes() == appended


def test_rows_at_the_end_are_appended_and_the_table_is_not_written_anew(tmp_path):
    path = tmp_path / "samples.csv"
    add_sample_rows(path, [make_row(0)])
    file = path.stat().st_ino
    add_sample_rows(path, [make_row(2), make_row(1)])
    assert path.stat().st_ino == file
    add_sample_rows(path, [make_row(3, condition="left")])  # A column that the table has not.
    assert path.stat().st_ino != file
    assert [row.condition for row in read_samples(path)] == ["", "", "", "left"]


def test_a_line_that_a_power_cut_left_is_no_row_and_the_next_is_whole(tmp_path):
    path = tmp_path / "samples.csv"
    add_sample_rows(path, [make_row(0), make_row(1)])
    with path.open("ab") as file:
        file.write(b"s000002,s0000")
    assert len(read_samples(path)) == 2
    add_sample_rows(path, [make_row(2)])
    assert read_samples(path) == [make_row(i) for i in range(3)]
    # A whole last line without its end, as editors leave it, is a row.
    path.write_text(path.read_text().rstrip("\n"))
    assert len(read_samples(path)) == 3
    add_sample_rows(path, [make_row(3)])
    assert len(read_samples(path)) == 4
    path.write_text("sample,path\ns000000,a,b\n")
    with pytest.raises(BadInput, match="table of samples cannot be read"):
        read_samples(path)


CHILD = """
import sys
from pathlib import Path
from napari_memscan.samples import SampleRow, add_sample_rows
at = 0
while True:
    size = 1 + at % 700
    rows = [SampleRow(f"s{i:06d}", "x" * 40 + str(i), str(i)) for i in range(at, at + size)]
    add_sample_rows(Path(sys.argv[1]), rows[::-1])
    at += size
    print(at, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2])
def test_a_writer_that_is_killed_leaves_a_whole_table_with_all_that_was_told(tmp_path, seconds):
    path = tmp_path / "samples.csv"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
    )
    told = child.stdout.readline()
    time.sleep(seconds)
    os.kill(child.pid, signal.SIGKILL)
    rest = child.communicate()[0].split()
    n = int(([told.strip(), *rest])[-1])
    rows = read_samples(path)
    assert len(rows) >= n
    assert [row.sample for row in rows] == [f"s{i:06d}" for i in range(len(rows))]
    assert path.read_bytes().endswith(b"\n")
    add_sample_rows(path, [make_row(len(rows))])
    assert len(read_samples(path)) == len(rows) + 1
