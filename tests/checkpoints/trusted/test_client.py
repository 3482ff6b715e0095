"""Whatever the code in the child does, memscan says it in words and no process stays behind."""

import gc
import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_memscan.checkpoints.trusted.child_model import expect_shape
from napari_memscan.errors import BadInput, JobFailed

EMBEDDER = """
import os, sys, time
{before}
class Embedder:
    input_shape = (4, 4, 4)
    dim = 2
    def embed(self, batch):
        {body}
        return batch.mean((2, 3, 4)).repeat(1, 2)
def make():
    return Embedder()
"""


def code(before="", body="pass"):
    return EMBEDDER.format(before=before, body=body.strip().replace("\n", "\n        "))


def ask(child, value=0.25):
    batch = np.full((1, 1, 4, 4, 4), value, np.float32)
    return child.call("embed", {"batch": batch}, expect_shape((1, 2)), 8)


def gone(pid):
    return not psutil.pid_exists(pid)


def test_it_answers_and_is_gone_after_close(child):
    one = child(code())
    assert one.description["dim"] == 2
    assert ask(one).tolist() == [[0.25, 0.25]]
    process = psutil.Process(one.pid)
    folder = process.cwd()
    assert "memscan-" in folder
    one.close()
    one.close()
    assert gone(one.pid)
    assert not Path(folder).exists()
    assert not one.running
    with pytest.raises(JobFailed, match="not running any more"):
        ask(one)


def test_nobody_holds_it_any_more(child, tmp_path):
    from napari_memscan.checkpoints.trusted.client import ChildProcess

    (tmp_path / "p.py").write_text(code())
    one = ChildProcess("p", "plugin", str(tmp_path / "p.py"), ("--function", "make"))
    pid = one.pid
    assert psutil.pid_exists(pid)
    del one
    gc.collect()
    assert gone(pid)


def test_prints_do_not_spoil_the_wire(child):
    loud = "print('x' * 100_000); sys.stdout.flush(); os.system('echo loud'); os.write(1, b'raw')"
    one = child(code(loud, loud + "\nprint(sys.stdin.read(), input if 0 else '')"))
    assert ask(one).tolist() == [[0.25, 0.25]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (code("raise ValueError('my own\\nwords')"), r"ValueError: my own \(plug.py, line 3\)"),
        (code("def broken(:"), r"SyntaxError.*line 3"),
        (code("import not_a_module_anywhere"), "ModuleNotFoundError"),
        (code("sys.exit('enough')"), "SystemExit: enough"),
        (code("raise KeyboardInterrupt"), "KeyboardInterrupt"),
        (code("os._exit(3)"), "exit code 3"),
        (code("os.kill(os.getpid(), 9)"), "signal 9"),
        ("def make(): return 5", "returned a int without recipe"),
        ("def other(): pass", "no function 'make'"),
        ("make = 3", "no function 'make'"),
        (code().replace("dim = 2", "dim = {1, 2}"), "JSON"),
    ],
)
def test_what_goes_wrong_while_it_loads(child, text, words):
    with pytest.raises(BadInput, match=words) as raised:
        child(text)
    assert "Traceback" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("plug.py:make: its code")
    assert not [c for c in psutil.Process().children() if "worker" in " ".join(c.cmdline())]


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """One child for what does not end it: the first voxel says what it does."""
    from napari_memscan.checkpoints.trusted.client import ChildProcess

    body = """
import torch
what = int(batch[0, 0, 0, 0, 0])
if what == 1: return None
if what == 2: raise RuntimeError('no')
if what == 3: return batch.mean((2, 3, 4)).repeat(1, 2) * float('nan')
if what == 4: sys.exit(3)
if what == 5: return [1.0, 2.0]
if what > 9: return torch.rand(1, 2) + batch.mean()
"""
    path = tmp_path_factory.mktemp("talker") / "plug.py"
    path.write_text(code(body=body))
    one = ChildProcess("plug.py:make", "plugin", str(path), ("--function", "make"))
    yield one
    one.close()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (1, "NoneType, a tensor is expected"),
        (2, r"RuntimeError: no \(plug.py, line 11\)"),
        (3, "NaN or infinity"),
        (4, "SystemExit: 3"),
        (5, "list, a tensor is expected"),
    ],
)
def test_what_goes_wrong_while_it_runs_and_does_not_end_it(talker, what, words):
    with pytest.raises(JobFailed, match=words):
        ask(talker, what)
    assert talker.running
    assert ask(talker, 0).tolist() == [[0.0, 0.0]]


def test_what_it_draws_depends_on_its_input_alone(talker):
    first, again, other = ask(talker, 10), ask(talker, 10), ask(talker, 11)
    assert first.tolist() == again.tolist()
    assert np.abs(other - 1 - first).max() > 1e-3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return batch.mean((2, 3, 4))", r"\(1, 1\); \(1, 2\) is expected"),
        ("return batch.repeat(99, 9, 9, 9, 9)", r"at most 4,000,008 are expected"),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_what_ends_it_while_it_runs(child, body, words):
    one = child(code(body=body))
    with pytest.raises(JobFailed, match=words):
        ask(one)
    assert not one.running
    assert gone(one.pid)


def test_a_hang_while_loading(child):
    start = time.monotonic()
    with pytest.raises(BadInput, match="did not answer within 2 seconds"):
        child(code("time.sleep(600)"), load_seconds=2)
    assert time.monotonic() - start < 10


def test_a_hang_while_running_and_what_it_started(child, tmp_path):
    pids = tmp_path / "pids"
    body = f"""
if batch.max() < 1: return batch.mean((2, 3, 4)).repeat(1, 2)
import subprocess
p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "w").write(str(p.pid))
time.sleep(600)
"""
    one = child(code(body=body))
    ask(one)  # Imports torch, so that two seconds are enough for what follows.
    one.call_seconds = 2
    with pytest.raises(JobFailed, match="did not answer within 2 seconds"):
        ask(one, 1)
    assert gone(one.pid)
    grandchild = int(pids.read_text())
    for _ in range(50):
        if gone(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("what the code started goes on")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_it_dies_while_something_it_forked_holds_the_wire(child):
    body = """
if os.fork() == 0:
    os.setsid(); time.sleep(8); os._exit(0)
os._exit(3)
"""
    one = child(code(body=body))
    start = time.monotonic()
    with pytest.raises(JobFailed, match="exit code 3"):
        ask(one)
    assert time.monotonic() - start < 30
    assert gone(one.pid)


def test_its_own_close_is_called_and_may_hang(child, tmp_path, monkeypatch):
    from napari_memscan.checkpoints.trusted import client

    monkeypatch.setattr(client, "CLOSE_SECONDS", 1.0)
    marker = tmp_path / "closed"
    hang = f"    def close(self): open({str(marker)!r}, 'w').close(); time.sleep(600)\n"
    one = child(code().replace("    dim = 2\n", "    dim = 2\n" + hang))
    assert not marker.exists()
    one.close()
    assert marker.exists()
    assert gone(one.pid)


def test_the_child_ends_when_the_parent_is_killed(tmp_path):
    import subprocess
    import sys

    (tmp_path / "p.py").write_text(code())
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from napari_memscan.checkpoints.trusted.client import ChildProcess\n"
            f"c = ChildProcess('p', 'plugin', {str(tmp_path / 'p.py')!r}, ('--function', 'make'))\n"
            "print(c.pid, flush=True)\nimport time; time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    folder = Path(psutil.Process(pid).cwd())
    assert folder.is_dir()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if gone(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            assert not folder.exists()
            return
        time.sleep(0.1)
    raise AssertionError("the child outlives its parent")
