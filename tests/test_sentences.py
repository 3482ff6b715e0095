"""No code reads a sentence: what programs decide by is typed, what people read is only read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_memscan.cli import app
from napari_memscan.cli import hints as of_the_command_line
from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.widgets.common import hints as of_the_window

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGE = Path(__file__).parents[1] / "src" / "napari_memscan"

SENTENCES = {
    "failure",
    "limit_reasons",
    "message",
    "missing",
    "note",
    "notes",
    "power_note",
    "problem",
    "reason",
    "reasons",
    "reasons_",
    "stopped",
    "warning",
    "warnings",
    "what",
    "why",
}
"""Fields that hold words for people."""
TEXTS = {"message", "note", "problem", "reason", "text", "told", "warning", "why"}
"""Variables that hold words for people, or a text to be parsed."""
READING = {
    "count",
    "endswith",
    "find",
    "index",
    "partition",
    "removeprefix",
    "removesuffix",
    "rfind",
    "rpartition",
    "startswith",
}
KINDS = {"embedder", "generator", "rule"}
"""Variables whose kind is no beginning of their name."""
MATCHING = {"findall", "finditer", "fullmatch", "match", "search", "sub"}

FOREIGN = {
    "errors.py": "what PyTorch says where memory does not suffice has no class on every device",
    "checkpoints/weights.py": "PyTorch says in words alone why it refuses a pickle",
}
"""Modules that must read the words of others, and why."""


def is_prose(node: ast.expr) -> bool:
    """Whether a constant is a word or words, and no mark of a format such as ``://``."""
    if isinstance(node, ast.Tuple):
        return any(map(is_prose, node.elts))
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and re.search(r"[^\W\d_]{3}|\w \w", text) is not None


def is_several_words(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(is_several_words, node.elts))
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and re.search(r"[^\W\d_]{2} [^\W\d_]{2}", text) is not None


def walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a scope and in no function inside it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, FUNCTIONS):
            yield from walk_scope(node)


class SentenceFinder:
    """Finds where one function, or the body of a module, reads what is meant for people."""

    def __init__(self, scope: ast.AST) -> None:
        self.nodes = list(walk_scope(scope))
        self.errors = {
            node.name for node in self.nodes if isinstance(node, ast.ExceptHandler) and node.name
        }
        # What is taken out of sentences is one as well.
        self.names: set[str] = set()
        for _ in range(2):
            for node in self.nodes:
                if isinstance(node, ast.comprehension | ast.For) and self.holds_words(node.iter):
                    self.names |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
                elif isinstance(node, ast.Assign) and self.is_sentence(node.value):
                    self.names |= {t.id for t in node.targets if isinstance(t, ast.Name)}

    def holds_words(self, node: ast.expr) -> bool:
        return any(
            (isinstance(n, ast.Attribute) and n.attr in SENTENCES) or self.is_named(n)
            for n in ast.walk(node)
        )

    def is_named(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self.names

    def is_sentence(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=name)]):
                return name in self.errors or name in ("error", "problem", "failure")
            case ast.Call(func=ast.Attribute(value=inner)) | ast.Subscript(value=inner):
                return self.is_sentence(inner)
            case ast.Attribute(attr=name):
                return name in SENTENCES
            case ast.BoolOp(values=parts):
                return any(map(self.is_sentence, parts))
        return self.is_named(node)

    def is_text(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        return isinstance(node, ast.Name) and node.id in TEXTS

    def is_read(self, subject: ast.expr, words: list[ast.expr]) -> bool:
        """Whether looking for `words` in `subject` is reading a sentence."""
        constant = [word for word in words if isinstance(word, ast.Constant | ast.Tuple)]
        if self.is_sentence(subject):
            # Line breaks and blanks may be looked for: what libraries say is cut short with them.
            return not all(isinstance(w, ast.Constant) and w.value.isspace() for w in words)
        if self.is_text(subject):
            return any(map(is_prose, constant))
        return any(map(is_several_words, constant))

    def is_matched(self, module: ast.expr, args: list[ast.expr]) -> bool:
        """Whether a regular expression is held against a sentence."""
        if self.is_sentence(args[-1]):
            return True
        if not (isinstance(module, ast.Name) and module.id == "re" and self.is_text(args[-1])):
            return False
        return isinstance(args[0], ast.Name) or is_prose(args[0])

    def find(self) -> Iterator[ast.expr]:
        for node in self.nodes:
            match node:
                case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id="news"), *_]):
                    yield node
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Attribute(value=ast.Name(id=kind), attr="name"), attr=how
                    )
                ) if kind in KINDS and how in READING:
                    yield node
                case ast.Call(func=ast.Attribute(value=of, attr=how), args=[first, *_] as args):
                    if (how in READING and self.is_read(of, [first])) or (
                        how in MATCHING and self.is_matched(of, args)
                    ):
                        yield node
                case ast.Compare(
                    left=ast.Constant() as left, ops=[ast.In() | ast.NotIn()], comparators=[right]
                ) if is_prose(left):
                    # Of several fields that lack, one may be looked for by its name.
                    if getattr(right, "attr", "") != "missing" and self.is_read(right, [left]):
                        yield node
                case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                    for one, other in ((left, right), (right, left)):
                        if self.is_sentence(one) and is_prose(other):
                            yield node


def find_readings(tree: ast.AST) -> set[tuple[int, str]]:
    """Return line and source of whatever reads a sentence."""
    scopes = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    return {
        (node.lineno, ast.unparse(node))
        for scope in (tree, *scopes)
        for node in SentenceFinder(scope).find()
    }


FORMER = [
    'told = next((text for text in result.warnings if text.startswith("no power")), "")',
    'told += [note for note in (test.notes if test else ()) if note.startswith("No power")]',
    'if embedder.name.startswith("low-resolution"):\n    pass',
    'only = len(self.missing) == 1 and self.missing[0].startswith("scale_factor:")',
    'def is_scale(text):\n    return text.lower().replace("_", " ").startswith("scale factor")',
    "kept = [w for w in study.config.warnings if not w.startswith(MODEL_WARNING_PREFIXES)]",
    'names = [text.partition(":")[0] for text in found.missing]',
    'try:\n    run()\nexcept BadInput as problem:\n    known = "embedder" in str(problem)',
    'if not news.what.startswith("generated"):\n    view.hide_steps()',
    'if hasattr(news, "what"):\n    pass',
    'def show(text):\n    if "validation" in text:\n        pass',
    'def show(text):\n    if text.startswith("loss"):\n        pass',
    "def reword(text):\n    for pattern, ours in WAYS:\n        text = re.sub(pattern, ours, text)",
    "others = [text for text in result.warnings if not text.startswith(stopped)]",
    'said = str(error).replace("a", "b").endswith("no licence")',
    'if sample.reason == "no copies were planted":\n    pass',
    'if re.search(r"(\\d+) planted", rule.note):\n    pass',
    'def example(what):\n    return re.search(r"as (.*)", item.why)',
]
HARMLESS = [
    'path.name.startswith(".")',
    'text.startswith("$")',
    '"://" in text',
    "if rule.note:\n    say(rule.note)",
    "lines += [f'warning   {text}' for text in result.warnings]",
    "try:\n    run()\nexcept OSError as error:\n    say(str(error).splitlines()[0])",
    "name in found.missing",
    'state.prefix.endswith("backbone.")',
    "item.verdict == Verdict.COPY",
]


@pytest.mark.parametrize("code", FORMER)
def test_code_that_reads_a_sentence_is_found(code):
    assert find_readings(ast.parse(code))


@pytest.mark.parametrize("code", HARMLESS)
def test_other_code_is_let_be(code):
    assert find_readings(ast.parse(code)) == set()


def test_no_code_reads_a_sentence():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if readings := find_readings(ast.parse(path.read_text(encoding="utf-8"))):
            found[name] = sorted(readings)
    foreign = set(FOREIGN)
    assert set(found) >= foreign, "exempt for nothing"
    assert {name: where for name, where in found.items() if name not in foreign} == {}


def test_no_template_reads_a_sentence():
    for path in PACKAGE.rglob("*.html"):
        code = re.findall(r"\{[{%].*?[}%]\}", path.read_text(encoding="utf-8"))
        assert [part for part in code if re.search(r"\.(startswith|endswith|find)\(", part)] == []


@pytest.mark.parametrize("front_end", [of_the_command_line, of_the_window])
def test_each_front_end_says_every_hint(front_end):
    assert set(front_end.HINTS) == set(HintKind)
    assert front_end.describe_error(BadInput("x: it is wrong.")) == "x: it is wrong."
    for kind in HintKind:
        said = front_end.describe_error(BadInput("x: it is wrong.", Hint(kind, "THIS")))
        assert said.startswith("x: it is wrong. ")
        assert len(said) > len("x: it is wrong. ") + 5
        assert "{" not in said


COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]
SPOKEN = re.compile(rf"--[a-z]{{3}}|memscan ({'|'.join(COMMANDS)})\b")


def test_the_core_speaks_no_command_line():
    """Options and commands are the words of one front end; each hint has them there."""
    told = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(("cli/", "widgets/")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                text = ast.unparse(node.exc)
                told += [(name, node.lineno)] * bool(SPOKEN.search(text))
    assert told == []
