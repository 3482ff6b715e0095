"""The child: ``python -m napari_memscan.checkpoints.trusted.worker KIND TARGET``.

Runs code of strangers. What it prints goes to standard error, it finds standard input empty, and
what it raises is sent to the parent as text.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_memscan.checkpoints.trusted import wire
from napari_memscan.checkpoints.trusted.wire import ModelRefused

Arrays = Mapping[str, NDArray[Any]]

KINDS = ("plugin", "torchscript", "bundle")


def main() -> None:
    """Answer the parent's requests until it closes."""
    options = _parse_options()
    requests, answers = _take_standard_streams()
    own = Path.cwd()
    threading.Thread(target=_end_with_parent, args=(os.getppid(), own), daemon=True).start()
    sys.argv = [options.target]
    # Behind everything else: a user's modules do not hide those of the environment.
    sys.path.append(options.folder)
    model: Any = None
    while True:
        try:
            message, arrays = wire.receive(requests)
        except EOFError:
            # The parent is gone, so nobody else removes it.
            rmtree(own, ignore_errors=True)
            return
        operation = str(message.get("do"))
        try:
            if model is None:
                model = _load_model(options)
            if operation == "describe":
                result = model.describe()
            else:
                result = _run_operation(model, operation, arrays, message.get("threads"))
        except BaseException as error:
            # Also SystemExit and KeyboardInterrupt: the parent decides when this ends.
            traceback.print_exc()
            wire.send(answers, {"error": _format_error(error)})
            continue
        try:
            if operation == "describe":
                wire.send(answers, {"answer": result})
            else:
                wire.send(answers, {"answer": None}, {} if result is None else {"result": result})
        except wire.BadMessage as error:
            wire.send(answers, {"error": f"what it answers to '{operation}' {error}"})
        if operation == "close":
            return


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("target")
    parser.add_argument("--function", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=3)
    parser.add_argument("--folder", required=True)
    return parser.parse_args()


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the wire, and give others in their place.

    The copies are not inherited by processes that the code starts.
    """
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def _end_with_parent(parent: int, own: Path) -> None:
    """End when the parent was killed and could not say so; where the system tells."""
    while os.getppid() == parent:
        time.sleep(1)
    rmtree(own, ignore_errors=True)
    os._exit(1)


def _load_model(options: argparse.Namespace) -> Any:
    if options.kind == "plugin":
        from napari_memscan.checkpoints.trusted.serve_plugin import PlugInModel

        return PlugInModel(options.target, options.function, options.device)
    if options.kind == "torchscript":
        from napari_memscan.checkpoints.trusted.serve_torchscript import TorchScriptModel

        return TorchScriptModel(options.target, options.shape, options.device)
    from napari_memscan.checkpoints.trusted.serve_bundle import BundleModel

    return BundleModel(options.target, options.device)


OPERATIONS = ("denoise", "decode", "encode_mean", "embed")


def _run_operation(
    model: Any, operation: str, arrays: Arrays, threads: int | None = None
) -> NDArray[np.float32] | None:
    if operation == "close":
        close = getattr(model, "close", None)
        if callable(close):
            close()
        return None
    method = getattr(model, operation, None) if operation in OPERATIONS else None
    if method is None:
        raise ModelRefused(f"it has no method '{operation}'")

    import torch

    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    # Whatever the model draws depends on its input alone, so the same seed gives the same volume.
    torch.manual_seed(_compute_seed(arrays))
    device = torch.device(model.device)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    with torch.inference_mode():
        result = method(**tensors)
    if not isinstance(result, torch.Tensor | np.ndarray):
        raise ModelRefused(f"{operation} returned a {type(result).__name__}, a tensor is expected")
    if isinstance(result, torch.Tensor):
        result = result.detach().float().cpu().numpy()
    return np.asarray(result, np.float32)


def _compute_seed(arrays: Arrays) -> int:
    from zlib import crc32

    value = 0
    for _, array in sorted(arrays.items()):
        value = crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, value)
    return value


def _format_error(error: BaseException) -> str:
    """Say what went wrong in one line, and where in the user's own code."""
    if isinstance(error, ModelRefused):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0][:400]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{text} (line {error.lineno})"
    libraries = (str(Path(__file__).parent), str(Path(os.__file__).parent), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(libraries) and "site-packages" not in frame.filename:
            return f"{text} ({Path(frame.filename).name}, line {frame.lineno})"
    return text


if __name__ == "__main__":
    main()
