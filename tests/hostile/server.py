"""A process that has everything imported and forks once for each file.

It reads one JSON request a line, ``{"action", ...}``, and answers each with one line. Run
by tests as a script, so that what a hostile file does happens neither in the process of pytest nor
after an import of several seconds.
"""

from __future__ import annotations

import argparse
import copyreg
import gc
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path

PAGE = resource.getpagesize()


def import_all() -> None:
    """Import what `memscan check` imports, so that forks measure the file and not the imports."""
    import torch

    import napari_memscan.checkpoints
    import napari_memscan.cli

    torch.set_num_threads(1)
    package = napari_memscan.checkpoints
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # What cannot be imported fails where it is needed.
        with suppress(ImportError):
            import_module(module.name)
    for name in ("monai.networks.nets", "monai.networks.schedulers", "pandas", "nibabel"):
        import_module(name)
    for name in (
        "cli.path_report",
        "embedders.loading",
        "generators.ldm",
        "study",
        "volumes.importers",
    ):
        import_module(f"napari_memscan.{name}")


def warm_up() -> None:
    """Check a good bundle: what libraries import when they are first used is imported then."""
    import corpus

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        path = corpus.CLEAN["bundle"](Path(folder), Path(folder) / "owned")
        with redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(Exception):
            check(str(path), corpus.OPTIONS["bundle"])


def resident(pid: int) -> int:
    """Bytes in memory now; 0 for a process that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def check(path: str, options: list[str]) -> int:
    """Run the real command."""
    from napari_memscan.cli import main

    sys.argv = ["memscan", "check", path, *options]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def naive(path: str, how: str) -> None:
    """Read a file as carelessly as that can be done."""
    file = Path(path)
    if file.is_dir() and how != "monai":
        (file,) = (p for p in file.iterdir() if p.name != "recipe.json")
    sys.path.insert(0, str(file.parent))
    # Most files fail after the deed.
    with suppress(Exception):
        globals()[f"_{how}"](file)
    sys.path.pop(0)
    # One entry poisons this class for all that come after it.
    if "__setstate__" in vars(argparse.Namespace):
        del argparse.Namespace.__setstate__


def _pickle(file: Path) -> None:
    import pickle

    pickle.loads(file.read_bytes())


def _torch(file: Path) -> None:
    import torch

    torch.load(file, weights_only=False)


def _jit(file: Path) -> None:
    import torch

    torch.jit.load(file)


def _numpy(file: Path) -> None:
    import numpy as np

    loaded = np.load(file, allow_pickle=True)
    if isinstance(loaded, np.lib.npyio.NpzFile):
        _ = loaded["arr_0"]


def _yaml(file: Path) -> None:
    import yaml

    yaml.unsafe_load(file.read_text())


def _logging(file: Path) -> None:
    from logging.config import fileConfig

    fileConfig(file)


def _extract(file: Path) -> None:
    import zipfile

    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            target = file.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


def _monai(folder: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"] = str(folder)
    for key in list(parser.get()):
        with suppress(Exception):
            parser.get_parsed_content(key)


def answer(request: dict) -> dict:
    """Fork, do what is asked, and say how it ended and what it took.

    Time is that of the processor, which is the same on a busy machine; who waits for ever is
    stopped by the clock.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.setsid()
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                for extension, name in request.get("extensions", {}).items():
                    copyreg.add_extension(*name.rsplit(".", 1), int(extension))
                if request["action"] == "check":
                    code = check(request["path"], request["options"])
                else:
                    warnings.simplefilter("ignore")
                    for path, how in request["files"]:
                        naive(path, how)
                    code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        stopped = ""
        while True:
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() - began > request["seconds"]:
                stopped = "it took too long"
            elif resident(child) > request["bytes"]:
                stopped = "it took too much memory"
            if stopped:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.003)
        out.seek(0)
        err.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "seconds": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss * 1024,
            "stopped": stopped,
            "out": out.read(100_000).decode(errors="replace"),
            "err": err.read(100_000).decode(errors="replace"),
        }


def main() -> None:
    """Answer requests until the pipe is closed."""
    # Answers go where standard output went; whatever is printed while importing does not.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import_all()
    warm_up()
    # Else the collector of each fork writes to, and so copies, all that was imported.
    gc.collect()
    gc.freeze()
    print(json.dumps({"resident": resident(os.getpid())}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
