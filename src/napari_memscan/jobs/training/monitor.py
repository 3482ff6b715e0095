"""Memorisation seen while a model trains: samples now and then, a log, and a limit."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import put_folder, write_text
from napari_memscan.generators.sample import GeneratedSample
from napari_memscan.progress import Progress

if TYPE_CHECKING:
    from napari_memscan.detection.training_gauge import MemorisationMeasurement
    from napari_memscan.training.callbacks import CallbackContext
    from napari_memscan.volumes.preprocessing import Preprocessing

LOG_FILE = "memorisation.csv"
"""Beside the checkpoint: one row a look."""
BEST_FOLDER = "best"
"""Folder beside it: the last checkpoint with so few copies that it was to be kept."""

FIRST_SEED = 1_000_000
"""Of the volumes looked at; far from those that a study generates. The same at every look."""


@dataclass(frozen=True)
class MonitorRecord:
    """One look at a model.

    Attributes
    ----------
    step : int
        Optimiser steps, or epochs where those are counted.
    n : int
        Volumes sampled.
    n_copies, share, low, high
        Copies by the paper's rule, their share of `n` and its 95 % interval.
    floor : float
        Share that the rule flags where nothing is memorised.
    tau : float
        Of the rule.
    median_ratio : float or None
        Median d1/d2; see `training_gauge.MemorisationMeasurement`.
    n_memorised : int
        Volumes with d1/d2 below 1/3.
    training_loss, validation_loss, gap : float or None
        `gap` is validation minus training: grows where patients are learnt by heart.
    training : str
        Of data and settings of the training.
    """

    step: int
    n: int
    n_copies: int
    share: float
    low: float
    high: float
    floor: float
    tau: float
    median_ratio: float | None
    n_memorised: int
    training_loss: float | None
    validation_loss: float | None
    gap: float | None
    training: str

    @classmethod
    def of(
        cls,
        step: int,
        reading: MemorisationMeasurement,
        gauge: Any,
        losses: tuple[float | None, float | None],
        training: str = "",
    ) -> MonitorRecord:
        """Make a row of a reading, numbers rounded as the table keeps them."""
        low, high = reading.copies.interval
        seen, unseen = losses
        gap = None if seen is None or unseen is None else unseen - seen
        return cls(
            step=step,
            n=reading.copies.n,
            n_copies=reading.copies.k,
            share=_round_value(reading.copies.k / reading.copies.n),
            low=_round_value(low),
            high=_round_value(high),
            floor=_round_value(gauge.floor_),
            tau=_round_value(gauge.threshold_),
            median_ratio=None
            if reading.median_ratio is None
            else _round_value(reading.median_ratio),
            n_memorised=reading.memorised.k,
            training_loss=None if seen is None else _round_value(seen),
            validation_loss=None if unseen is None else _round_value(unseen),
            gap=None if gap is None else _round_value(gap),
            training=training,
        )

    def shown(self) -> dict[str, float]:
        """Return what loggers draw, by name."""
        values = {"n_copies": self.share, "median_ratio": self.median_ratio, "gap": self.gap}
        return {f"memorisation/{k}": v for k, v in values.items() if v is not None}

    def __str__(self) -> str:
        text = f"{self.n_copies} of {self.n} volumes copied"
        if self.median_ratio is not None:
            text += f", d1/d2 {self.median_ratio:.2f}"
        if self.gap is not None:
            text += f", loss gap {self.gap:+.4f}"
        return text


def _round_value(value: float) -> float:
    return round(float(value), 6)


def read_log(path: str | Path) -> list[MonitorRecord]:
    """Return the rows of a log; none where there is no file.

    Raises
    ------
    BadInput
        Not a log.
    """
    path = Path(path)
    if not path.exists():
        return []
    whole = {"step", "n", "n_copies", "n_memorised"}

    def value(name: str, text: str) -> Any:
        if name == "training":
            return text
        return int(text) if name in whole else float(text) if text else None

    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                MonitorRecord(
                    **{
                        field.name: value(field.name, row[field.name])
                        for field in fields(MonitorRecord)
                    }
                )
                for row in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path}: not a log of memorisation ({error}). Move it elsewhere; a new one is begun."
        ) from error


def write_log(path: str | Path, rows: Sequence[MonitorRecord]) -> None:
    """Write a log, whole or not at all."""
    names = [field.name for field in fields(MonitorRecord)]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow(["" if value is None else value for value in values])
    write_text(path, stream.getvalue())


@dataclass(frozen=True)
class MonitorSettings:
    """How a training is watched.

    Attributes
    ----------
    every : int
        Steps between two looks.
    samples : int
        Volumes a look.
    stop_above : float or None
        The training ends where a larger share of them is copied.
    keep_below : float or None
        The last checkpoint of which no larger share is copied is kept; None takes `stop_above`.
    """

    every: int
    samples: int = 8
    stop_above: float | None = None
    keep_below: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.samples < 1:
            raise BadInput(f"every {self.every}, samples {self.samples}: both must be at least 1.")
        for name, share in (("stop above", self.stop_above), ("keep below", self.keep_below)):
            if share is not None and not 0 <= share < 1:
                raise BadInput(f"{name} {share}: a share from 0 to below 1 is expected.")

    @property
    def kept(self) -> float | None:
        """Largest share of copies with which a checkpoint is kept."""
        return self.stop_above if self.keep_below is None else self.keep_below


class TrainingMonitor:
    """Watches the training of a denoiser: samples with the present weights and compares.

    Parameters
    ----------
    settings : MonitorSettings
    out : path
        Folder of the training's checkpoint; `LOG_FILE` and `BEST_FOLDER` are written there.
    training, validation : sequences of arrays (X, Y, Z) in [0, 1]
        Preprocessed.
    preprocessing : Preprocessing
        What they went through.
    device : str
        To sample on.

    Attributes
    ----------
    every : int
        Steps between two looks.
    rows : list of MonitorRecord
        Looks so far.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        out: str | Path,
        training: Any,
        validation: Any,
        preprocessing: Preprocessing,
        device: str = "auto",
    ) -> None:
        from napari_memscan.detection.training_gauge import MemorisationMonitor

        self.settings, self.out = settings, Path(out)
        self.preprocessing, self.device = preprocessing, device
        self.every = settings.every
        self.gauge = MemorisationMonitor().fit(training, validation)
        self.rows = read_log(self.out / LOG_FILE)

    def __call__(self, moment: CallbackContext) -> Generator[Progress, None, bool]:
        """Look at a training; return whether it shall stop; see `TrainingCallback`."""
        row = self._known(moment)
        if row is None:
            row = yield from self._look(moment)
            earlier = [
                r for r in self.rows if r.step < moment.step and r.training == moment.training
            ]
            self.rows = [*earlier, row]
            write_log(self.out / LOG_FILE, self.rows)
        moment.show(row.shown(), moment.step)
        yield Progress(moment.step, moment.total, f"step {moment.step}: {row}")
        limit = self.settings.stop_above
        return limit is not None and row.share > limit

    def _known(self, moment: CallbackContext) -> MonitorRecord | None:
        """Return the row of this moment, where it was looked at before the training stopped."""
        asked = (moment.step, moment.training, self.settings.samples)
        for row in self.rows:
            if (row.step, row.training, row.n) == asked:
                return row
        return None

    def _look(self, moment: CallbackContext) -> Generator[Progress, None, MonitorRecord]:
        import torch

        from napari_memscan.generators.ldm import LDMGenerator

        present = self.out / f".{BEST_FOLDER}.new"
        shutil.rmtree(present, ignore_errors=True)
        moment.save(present)
        with torch.random.fork_rng(devices=[]):  # Networks are drawn before weights are loaded.
            generator = LDMGenerator(present, device=self.device)
        n = self.settings.samples
        volumes: list[Any] = []
        for news in generator.generate(range(FIRST_SEED, FIRST_SEED + n), batch=1):
            if isinstance(news, GeneratedSample):
                volumes.append(self.preprocessing.apply(news.volume))
                text = f"step {moment.step}: sampled {len(volumes)} of {n} to look for copies"
                yield Progress(moment.step, moment.total, text)
        row = MonitorRecord.of(
            moment.step, self.gauge.measure(volumes), self.gauge, moment.losses(), moment.training
        )
        limit = self.settings.kept
        if limit is not None and row.share <= limit:
            put_folder(present, self.out / BEST_FOLDER)
        else:
            shutil.rmtree(present, ignore_errors=True)
        return row
