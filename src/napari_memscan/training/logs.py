"""What a training writes down: a table that is always there, TensorBoard's files on request."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from napari_memscan.files import append_text, write_atomically, write_text

LOG = "training.csv"
"""In the output folder: one row every `log_every` steps, and at each validation."""
TENSORBOARD = "tensorboard"
"""Folder beside it, where TensorBoard is installed."""
PICTURES = "pictures"
"""Folder beside it: what the network made at a step."""

COLUMNS = ("step", "loss", "validation_loss", "critic_loss", "learning_rate", "seconds")


class TrainingLog:
    """Appends rows; of a training that goes on, rows after the step it goes on from are dropped.

    Parameters
    ----------
    out : path
        Folder of the training.
    step : int
        Steps done so far.
    every : int
        Steps between two rows. A row's loss is the mean since the row before.
    tensorboard : bool
        Also write files for TensorBoard, where it is installed.
    """

    def __init__(self, out: Path, step: int, every: int, tensorboard: bool = True) -> None:
        self.out, self.every = out, every
        self._losses: list[float] = []
        self._begin(step)
        self._board = _make_tensorboard_logger(out, step) if tensorboard else None

    def _begin(self, step: int) -> None:
        rows = [row for row in read_log(self.out / LOG) if row["step"] <= step]
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([row["step"], *("" if row[c] is None else row[c] for c in COLUMNS[1:])])
        write_text(self.out / LOG, stream.getvalue())

    def __call__(
        self,
        step: int,
        loss: float,
        validation: float | None,
        critic: float | None,
        rate: float,
        seconds: float,
    ) -> None:
        """Take note of a step.

        Raises
        ------
        JobFailed
            The disk is full.
        """
        self._losses.append(loss)
        if validation is None and step % self.every:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        values = (mean, validation, critic, rate, seconds)
        texts = ["" if value is None else f"{value:.6g}" for value in values]
        append_text(self.out / LOG, ",".join([str(step), *texts]) + "\n")
        named = dict(zip(COLUMNS[1:], values, strict=True))
        self.show({k: v for k, v in named.items() if v is not None}, step)

    def show(self, values: dict[str, float], step: int) -> None:
        """Write numbers for TensorBoard only, where it is installed."""
        if self._board is not None:
            self._board.log_metrics(values, step)

    def close(self) -> None:
        """Write what is still held back."""
        if self._board is not None:
            self._board.finalize("success")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log, None where nothing was measured; a row cut short is left out."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        for row in csv.DictReader(file):
            try:
                values = {c: float(row[c]) if row[c] else None for c in COLUMNS[1:]}
                rows.append({"step": int(row["step"])} | values)
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def _make_tensorboard_logger(out: Path, step: int) -> Any:
    from importlib.util import find_spec

    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        return None
    from lightning.fabric.loggers import TensorBoardLogger

    purge = {"purge_step": step + 1} if step else {}
    return TensorBoardLogger(out, name=TENSORBOARD, version="", **purge)


def save_slice_figure(path: Path, volumes: dict[str, Any], title: str) -> None:
    """Write a PNG: for each name a row of the middle slices along Z, X and Y of its volumes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(volumes)
    n = max(len(values) for values in volumes.values())
    planes = (("Z", 2), ("X", 0), ("Y", 1))
    figure = Figure(figsize=(1.1 + 1.6 * n, 0.5 + 1.6 * len(names) * len(planes)), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names) * len(planes), n, squeeze=False)
    for r, (plane, axis) in enumerate(planes):
        for k, name in enumerate(names):
            row = axes[r * len(names) + k]
            for column, place in enumerate(row):
                place.set_xticks([])
                place.set_yticks([])
                if column < len(volumes[name]):
                    volume = volumes[name][column]
                    middle = volume.take(volume.shape[axis] // 2, axis=axis)
                    place.imshow(middle.T, cmap="gray", vmin=0, vmax=1, origin="lower")
            # A condition's name is no formula, whatever is in it.
            row[0].set_ylabel(f"{name}\n{plane}", fontsize=7, parse_math=False)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    with write_atomically(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
