"""`memscan check` against every file of the corpus: it refuses, says why, and nothing happens.

One process imports torch and MONAI and forks for each file, so each file costs a fork and not the
imports. What a fork took (time, peak memory) is what the file took.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _sibling(name):
    """Import a module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _sibling("corpus")

# The imports of torch, MONAI and pandas and a good small checkpoint take 0.35 to 0.5 GB, measured
# anew for each run. Files of this corpus are below 5 MB: what needs 300 MB more has believed one.
MEGABYTES = 300
# Of the processor. A good checkpoint takes 0.1 s once everything is imported, a bundle with its
# self-test 0.5 s. By the clock it is three times as much, for machines with other work.
SECONDS = 5
# For a person who reads one message; the path itself is not counted.
LETTERS = 800
FILE_BYTES = 5e6

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks after importing torch, and measures memory in /proc"
)


class Server:
    """Asks the forking process."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.limit = json.loads(self.process.stdout.readline())["resident"] + MEGABYTES * 2**20

    def ask(self, action, seconds=3 * SECONDS, **more):
        request = {
            "action": action,
            "extensions": corpus.EXTENSIONS,
            "seconds": seconds,
            "bytes": self.limit + 100 * 2**20,
        }
        self.process.stdin.write(json.dumps(request | more) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server()
    folder = tmp_path_factory.mktemp("good")
    good = corpus.CLEAN["checkpoint-zip"](folder, folder / "owned")
    server.limit = checked(server, "", good)["peak"] + MEGABYTES * 2**20
    yield server
    server.process.stdin.close()
    server.process.wait(30)


@pytest.fixture
def places(tmp_path):
    """Where a file is made, and the marker that its code would create."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files", tmp_path / "owned"


def made(name, places):
    for table in (corpus.CORPUS, corpus.HARMLESS, corpus.CLEAN):
        if name in table:
            return table[name](*places)
    raise KeyError(name)


def checked(server, name, path):
    """What `memscan check` answers, with what a user would state of such a file."""
    stated = [o for start, o in corpus.OPTIONS.items() if name.startswith(start)]
    return server.ask("check", path=str(path), options=[word for o in stated for word in o])


def tree(folder):
    """Names and sizes of all that lies below a folder."""
    return {
        str(Path(root, name).relative_to(folder)): os.lstat(Path(root, name)).st_size
        for root, folders, names in os.walk(folder)
        for name in (*folders, *names)
    }


def assert_calm(answer, server):
    """Whatever it said, it did not crash, hang, swell or print terminal codes."""
    said = answer["out"] + answer["err"]
    assert not answer["stopped"], answer["stopped"]
    assert "Traceback" not in said, said[-2000:]
    assert answer["code"] in (0, 2), (answer["code"], said[-2000:])
    assert answer["seconds"] < SECONDS
    assert answer["peak"] < server.limit, f"{(answer['peak'] - server.limit) / 2**20:.0f} MB above"
    control = {c for c in said if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}
    assert not control, f"prints {control}"


def test_corpus_is_large():
    assert len(corpus.CORPUS) >= 40
    assert corpus.NAIVE.keys() <= corpus.CORPUS.keys()


@pytest.mark.parametrize("name", corpus.CORPUS)
def test_hostile_file_is_refused(name, server, places, tmp_path):
    path = made(name, places)
    before = tree(tmp_path)
    assert sum(before.values()) < FILE_BYTES
    answer = checked(server, name, path)

    assert not places[1].exists(), "the payload has run"
    assert tree(tmp_path) == before
    assert_calm(answer, server)
    lines = answer["err"].splitlines(keepends=True)
    message = "".join(line for line in lines if not line.startswith("warning: "))
    assert answer["code"] == 2, answer["out"] + message
    assert message.startswith("memscan: ")
    assert sum(line.startswith("memscan: ") for line in message.splitlines()) == 1
    assert path.name in message
    assert len(message.replace(str(path), path.name)) <= LETTERS, message[:2000]


@pytest.mark.parametrize("name", corpus.HARMLESS)
def test_foreign_but_harmless_file_gets_a_plain_answer(name, server, places, tmp_path):
    path = made(name, places)
    before = tree(tmp_path)
    answer = checked(server, name, path)
    assert_calm(answer, server)
    assert tree(tmp_path) == before
    assert path.name in answer["out"] + answer["err"]


@pytest.mark.parametrize("name", corpus.CLEAN)
def test_clean_twin_passes(name, server, places):
    """Else every refusal above might have another reason than the poison."""
    answer = checked(server, name, made(name, places))
    assert answer["code"] == 0, answer["err"]
    assert_calm(answer, server)


def test_payloads_are_live(server, tmp_path):
    """A careless reader runs them: the corpus is dangerous, and not merely ill-formed."""
    files, markers = [], {}
    for number, (name, how) in enumerate(corpus.NAIVE.items()):
        home, markers[name] = tmp_path / str(number) / "files", tmp_path / str(number) / "owned"
        home.mkdir(parents=True)
        files.append((str(corpus.CORPUS[name](home, markers[name])), how))
    answer = server.ask("naive", files=files, seconds=120)
    assert answer["code"] == 0, (answer["stopped"], answer["err"])
    assert [name for name, marker in markers.items() if not marker.exists()] == []


@pytest.mark.parametrize(
    "name",
    [
        "reduce-os-system:checkpoint",
        pytest.param("bomb-in-data-pkl", marks=pytest.mark.long),
        pytest.param("bundle-target-os-system", marks=pytest.mark.long),
    ],
)
def test_command_in_a_process_of_its_own(name, places):
    """The same without forks: what a person types."""
    path = made(name, places)
    command = [sys.executable, "-c", "from napari_memscan.cli import main; main()"]
    run = subprocess.run([*command, "check", str(path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2, run.stdout + run.stderr
    assert run.stderr.startswith("memscan: ")
    assert "Traceback" not in run.stderr
    assert not places[1].exists()
