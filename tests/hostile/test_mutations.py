"""Valid files with a few bytes or values changed: checked or refused, and never anything else.

The corpus holds what someone would make on purpose; this is what disks, downloads and text editors
make by chance, and what a fuzzer makes first.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_memscan.checkpoints import probe
from napari_memscan.cli.path_report import check_path
from napari_memscan.errors import BadInput

_SPEC = importlib.util.spec_from_file_location(
    "hostile_corpus", Path(__file__).with_name("corpus.py")
)
corpus = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(corpus)

# Of the processor and not of the clock, so a busy machine changes nothing.
SECONDS = 10
# A changed digit may ask for a network of any size: then allocation fails, and not the machine.
ROOM = 3 * 2**30

# The same examples each time: a test that fails once a month helps nobody.
repeatable = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


# Each has its own: a bundle is a whole walk through families and files, a header is read at once.
FEW = 25
ALL = 150


def few_or_all(few=FEW, every=ALL):
    """Give a test few examples, and all of them where time is no object."""
    return pytest.mark.parametrize("examples", [few, pytest.param(every, marks=pytest.mark.long)])


def hold_for(strategy, examples, check):
    """Draw examples and check each."""

    @settings(repeatable, max_examples=examples)
    @given(strategy)
    def run(drawn):
        check(drawn)

    run()


class Hang(BaseException):
    """No handler for errors of files swallows this."""


@contextmanager
def guarded():
    """Stop what computes for too long."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise Hang(f"still at it after {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module", autouse=True)
def limited_memory():
    """Leave a little more address space than what is in use."""
    if sys.platform != "linux":
        yield
        return
    import resource

    import torch  # noqa: F401  (maps its libraries before the space is limited)

    kilobytes = Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = int(kilobytes) * 1024 + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Home:
    """A whole checkpoint or bundle, one file of which is exchanged."""

    def __init__(self, path, name):
        self.path, self.file = path, path / name
        self.valid = self.file.read_bytes()

    def check(self, content):
        # Anew, not in place: tensors of an earlier example may still be mapped from the old file.
        self.file.unlink(missing_ok=True)
        self.file.write_bytes(content)
        with guarded():
            try:
                said = list(check_path(self.path))
            except BadInput as error:
                said = [str(error)]
        assert said


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Return a function that makes the clean checkpoint of this name."""

    def make(name, file):
        folder = tmp_path_factory.mktemp(name)
        return Home(corpus.CLEAN[name](folder, folder / "owned"), file)

    return make


@pytest.fixture(scope="module")
def torch_zip(homes):
    return homes("checkpoint-zip", "embedder.pt")


@pytest.fixture(scope="module")
def legacy(homes):
    return homes("checkpoint-legacy", "embedder.pt")


@pytest.fixture(scope="module")
def safetensors(homes):
    return homes("checkpoint-safetensors", "embedder.safetensors")


@pytest.fixture(scope="module")
def recipe(homes):
    return homes("checkpoint-safetensors", "recipe.json")


@pytest.fixture
def bundle(homes, monkeypatch):
    """Its weights are the same in each example, so they are read once."""
    monkeypatch.setattr(probe, "open_weights", functools.cache(probe.open_weights))
    return homes("bundle", "configs/inference.json")


# Where in a file: a fraction of its length, or so many bytes from its start or its end, where
# headers and directories are.
places = st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 300), st.integers(-3000, -1))
steps = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(1, 255)),
    st.tuples(st.just("delete"), places, st.integers(1, 64)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("splice"), places, places),
    st.tuples(st.just("truncate"), places, st.none()),
)
mutations = st.lists(steps, min_size=1, max_size=4)


def at(place, data):
    if isinstance(place, float):
        return int(place * len(data))
    return min(place, len(data)) if place >= 0 else max(0, len(data) + place)


def mutated(data, mutation):
    """Apply the steps in turn."""
    for kind, place, what in mutation:
        i = at(place, data)
        if kind == "flip" and i < len(data):
            data = data[:i] + bytes([data[i] ^ what]) + data[i + 1 :]
        elif kind == "delete":
            data = data[:i] + data[i + what :]
        elif kind == "insert":
            data = data[:i] + what + data[i:]
        elif kind == "splice":
            j = at(what, data)
            data = data[:i] + data[j : j + 40] + data[i + 40 :]
        elif kind == "truncate":
            data = data[:i]
    return data


@few_or_all()
def test_torch_zip(torch_zip, examples):
    hold_for(mutations, examples, lambda m: torch_zip.check(mutated(torch_zip.valid, m)))


@few_or_all()
def test_pickle_in_whole_zip(torch_zip, tmp_path, examples):
    """The archive and its checksums are right, so the damage reaches the unpickler."""
    path = tmp_path / "mutated.pt"
    whole = corpus.dumped(corpus.state_ops())

    def check(mutation):
        corpus.torch_zip(path, mutated(whole, mutation))
        torch_zip.check(path.read_bytes())

    hold_for(mutations, examples, check)


@few_or_all()
def test_legacy_file(legacy, examples):
    hold_for(mutations, examples, lambda m: legacy.check(mutated(legacy.valid, m)))


@few_or_all()
def test_safetensors(safetensors, examples):
    hold_for(mutations, examples, lambda m: safetensors.check(mutated(safetensors.valid, m)))


@few_or_all()
def test_recipe(recipe, examples):
    hold_for(mutations, examples, lambda m: recipe.check(mutated(recipe.valid, m)))


@few_or_all()
def test_inference_json(bundle, examples):
    hold_for(mutations, examples, lambda m: bundle.check(mutated(bundle.valid, m)))


ODD = (
    None,
    True,
    False,
    0,
    -1,
    1,
    7,
    10**6,
    2**31,
    2**40,
    2**63,
    2**70,
    0.5,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "\0",
    "/",
    "..",
    "$",
    "@",
    "%",
    "$1",
    "$1/0",
    "$[",
    "@x",
    "@autoencoder_def",
    "@latent_channels#0",
    "$@latent_shape[9]",
    "$@device",
    "embedder.pt",
    "monai.networks.nets.UNet",
    "monai",
    [],
    [[]],
    [None],
    [1],
    [-1, 0],
    [8, 8, 8, 8],
    {},
    {"a": 1},
    {"_target_": "monai.networks.nets.AutoencoderKL"},
    {"": {}},
)
"""Values that no field expects, and some that one field expects and others do not."""
changes = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(["set", "remove", "rename", "copy"]),
        st.sampled_from(ODD),
    ),
    min_size=1,
    max_size=3,
)


def slots(value, found=None):
    """List each (container, key) of nested JSON."""
    found = [] if found is None else found
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            slots(value[key], found)
    return found


def changed(data, plan):
    value = json.loads(data)
    for number, kind, odd in plan:
        everywhere = slots(value)
        if not everywhere:
            break
        container, key = everywhere[number % len(everywhere)]
        if kind == "set":
            container[key] = copy.deepcopy(odd)
        elif kind == "remove":
            del container[key]
        elif kind == "rename" and isinstance(container, dict):
            container[str(odd)] = container.pop(key)
        else:
            other, name = everywhere[(number // len(everywhere)) % len(everywhere)]
            container[key] = copy.deepcopy(other[name])
    return json.dumps(value).encode()


@few_or_all(50, 250)
def test_values_of_recipe(recipe, examples):
    hold_for(changes, examples, lambda plan: recipe.check(changed(recipe.valid, plan)))


@few_or_all(50, 250)
def test_values_of_inference_json(bundle, examples):
    hold_for(changes, examples, lambda plan: bundle.check(changed(bundle.valid, plan)))


@few_or_all(50, 250)
def test_values_of_safetensors_header(safetensors, examples):
    """The length before the header is right, so the damage reaches whoever believes the header."""
    length = int.from_bytes(safetensors.valid[:8], "little")

    def check(plan):
        header = changed(safetensors.valid[8 : 8 + length], plan)
        rest = safetensors.valid[8 + length :]
        safetensors.check(len(header).to_bytes(8, "little") + header + rest)

    hold_for(changes, examples, check)
