"""Every page of the documentation has an example that runs.

In a page, a comment before a block says what the tests do with it:

- ``<!-- run -->`` before a block of ``sh``: each line is a `memscan` command, and must succeed.
- ``<!-- run -->`` before one of ``python``: it is run; blocks of one page share their names.
- ``<!-- file: NAME -->``: the block is written to that file.
- ``<!-- prints -->``: what the blocks before it have printed since; ``...`` stands for anything.

All of it happens in a folder with what `world` makes; each page gets a fresh one.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import shutil
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(
    page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts
)
NO_EXAMPLE = {"changelog.md", "conduct.md", "contributing.md", "security.md"}
"""Nothing in these is a command of memscan or its API."""

BLOCK = re.compile(
    r"^<!-- (?P<what>run|prints|file)(?:: (?P<name>\S+))? -->\n+"
    r"```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SAMPLES = 4
SHORT = """
[verification]
retrieved = 3
proposed = 1
verified = 1
planted = 1
workers = 1
"""


class Examples:
    """Runs the blocks of one page.

    Parameters
    ----------
    page : str
        For messages.
    """

    def __init__(self, page: str) -> None:
        self.page, self.names, self.printed = page, {"__name__": "__main__"}, ""

    def run(self, what: str, name: str, kind: str, text: str) -> None:
        """Do with a block what the comment before it says."""
        if what == "file":
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
        elif what == "prints":
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(text, self.printed, flags)
            assert same, f"{self.page}: printed\n{self.printed}\nand not\n{text}"
            self.printed = ""
        elif kind in ("python", "py"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(text, self.page, "exec"), self.names)
            self.printed += out.getvalue()
        else:
            assert kind == "sh", f"{self.page}: a block of {kind or 'no language'} cannot be run"
            for line in text.replace("\\\n", " ").splitlines():
                self.command(line)

    def command(self, line: str) -> None:
        """Run a `memscan` command; ``> FILE`` at its end takes what it prints."""
        from napari_memscan.cli import app

        words = shlex.split(line, comments=True)
        if not words:
            return
        into = words.pop() if words[-2:-1] == [">"] else None
        if into:
            words.pop()
        assert words[0] == "memscan", f"{self.page}: only memscan is run, not {words[0]}"
        done = CliRunner().invoke(app, words[1:])
        said = f"{self.page}: {line}\n{done.stdout}\n{done.stderr}\n{done.exception!r}"
        assert done.exit_code == 0, said
        if into:
            Path(into).write_text(done.stdout, encoding="utf-8")
        else:
            self.printed += done.stdout


def blocks(page: str) -> list[tuple[str, str, str, str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [match.group("what", "name", "kind", "text") for match in BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_ldm, phantoms):
    """Return the folder that pages run in, and a copy of it as it is before any has.

    ``patients/cohort.csv``, ``checkpoints/ldm``, folders ``train``, ``held-out`` and
    ``generated``, and the study ``audit``: 4 samples, scanned and read by two readers, who flagged
    s000003.
    """
    here = tmp_path_factory.mktemp("docs") / "here"
    source = Path(phantoms.rows("training")[0].path).parents[1]
    shutil.copytree(source, here / "patients")
    shutil.copytree(tiny_ldm, here / "checkpoints" / "ldm")
    shutil.copytree(source / "training", here / "train")
    shutil.copytree(source / "validation", here / "held-out")
    shutil.copytree(source / "unseen", here / "generated")
    setup = Examples("what all pages begin with")
    with contextlib.chdir(here):
        setup.command("memscan new audit --cohort patients/cohort.csv --ldm checkpoints/ldm")
        settings = Path("audit/study.toml").read_text(encoding="utf-8")
        settings = re.sub(r"\n\[verification\]\n(?:[^\[\n].*\n)*", "\n", settings)
        Path("audit/study.toml").write_text(settings + SHORT, encoding="utf-8")
        setup.command(f"memscan generate audit -n {SAMPLES} --batch 1 --precision float32")
        setup.command("memscan scan audit")
        decide()
    kept = here.parent / "kept"
    shutil.copytree(here, kept)
    return here, kept


def decide():
    from napari_memscan import Study

    store = Study.open("audit").store()
    for reader, seconds in (("Ann", 20), ("Ben", 30)):
        for i in range(SAMPLES):
            decision = "copy" if i == SAMPLES - 1 else "not a copy"
            store.record(f"s{i:06d}", decision, reader, confidence=4, seconds=seconds)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in NO_EXAMPLE])
def test_the_examples_of_a_page_run(page, world, monkeypatch):
    here, kept = world
    found = blocks(page)
    assert any(what == "run" for what, *_ in found), f"{page} has no block marked <!-- run -->"
    # Studies know where they are, so each page runs at the same place.
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(kept, here)
    monkeypatch.chdir(here)
    examples = Examples(page)
    for block in found:
        examples.run(*block)


def test_every_mark_is_followed_by_a_block():
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        marks = len(re.findall(r"^<!-- (?:run|prints|file)\b", text, re.MULTILINE))
        assert marks == len(blocks(page)), page


def test_what_is_printed_is_compared():
    examples = Examples("a page")
    examples.run("run", "", "python", "print('tau', 0.5 + 0.25)")
    examples.run("prints", "", "text", "tau 0...\n")
    examples.run("run", "", "python", "print('tau')")
    with pytest.raises(AssertionError, match="and not"):
        examples.run("prints", "", "text", "another tau\n")
    with pytest.raises(AssertionError, match="only memscan is run"):
        examples.run("run", "", "sh", "rm -r audit\n")
