"""Connects the form of a training to the job that trains."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from qtpy.QtCore import QObject, Signal

from napari_memscan import jobs
from napari_memscan.errors import describe_validation_error
from napari_memscan.study import Study
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.training.view import TrainView

STUDY_FIELDS = {"denoiser": "generator", "embedder": "embedder"}
"""What a finished part is for the study; an autoencoder alone is nothing."""


class TrainController(QObject):
    """Trains one part at a time.

    A training that was stopped goes on with the same button; its state is in the study's folder.

    Attributes
    ----------
    trained : Signal(str, str)
        The study has a new ``generator`` or ``embedder`` to choose, in this folder.
    running : Signal(bool)
        A training began or ended.
    """

    trained = Signal(str, str)
    running = Signal(bool)

    def __init__(self, view: TrainView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._study: Study | None = None
        self._part = ""
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        view.start_requested.connect(self.start)
        view.stop_requested.connect(self.stop)
        view.part_chosen.connect(self._on_part)
        self._on_part(view.chosen)
        self.set_study(None)

    @property
    def busy(self) -> bool:
        """Whether something is trained."""
        return self._runner.busy

    def set_study(self, study: Study | None) -> None:
        """Train on this study's cohort from now on."""
        if study is None or self._study is None or study.folder != self._study.folder:
            self.stop()
            self._view.clear()
            self._view.message.say("" if study else "Open a study first.", "info")
        self._study = study
        if not self.busy:
            self._view.set_running(False, possible=study is not None)

    def start(self) -> None:
        """Begin, or go on with what was stopped."""
        from napari_memscan.training.settings import get_settings_class

        study, view = self._study, self._view
        if study is None or self.busy:
            return
        part = view.chosen
        models, halves = study.folder / "models", None
        if part == "denoiser":
            halves = find_latest_part(models, "autoencoder")
            if halves is None:
                view.message.say("A denoiser needs a trained autoencoder: train one first.", "info")
                return
        try:
            settings = get_settings_class(part)(steps=view.steps.value(), batch=view.batch.value())
        except ValidationError as error:
            view.message.say(describe_validation_error(error), "error")
            return
        self._part = part
        make = partial(
            jobs.train_model,
            study,
            part,
            choose_part_folder(models, part),
            settings,
            autoencoder=halves,
        )
        if self._runner.start(make):
            view.message.say("")
            view.clear()
            view.set_running(True)
            self.running.emit(True)

    def stop(self) -> None:
        """End the training after the step that it is at; what was reached is kept."""
        if self._runner.busy:
            self._view.set_stopping()
            self._runner.stop()

    def _on_part(self, part: str) -> None:
        from napari_memscan.training.settings import get_settings_class

        usual = get_settings_class(part)()
        self._view.set_defaults(usual.steps, usual.batch)

    def _on_progress(self, news: Any) -> None:
        if isinstance(news, jobs.Progress):
            self._view.set_reading(news.note or f"{news.what}, {news.done} of {news.total}")
            return
        self._view.add(news.step, news.total, news.loss, news.validation_loss)
        self._view.set_reading(news.note or f"step {news.step} of {news.total}")

    def _on_finished(self, outcome: JobOutcome) -> None:
        view = self._view
        view.draw()
        view.set_running(False, possible=self._study is not None)
        if outcome.failure:
            view.message.say(outcome.failure, "error")
        elif outcome.stopped:
            view.message.say("Stopped. The same button goes on where it stopped.", "warning")
        else:
            self._say_trained(Path(outcome.value))
        self.running.emit(False)

    def _say_trained(self, out: Path) -> None:
        if self._part not in STUDY_FIELDS:
            self._view.message.say(f"Trained: {out}. Now train the denoiser.", "ok")
            return
        field = STUDY_FIELDS[self._part]
        self._view.message.say(
            f"Trained: {out}. It stands in step 1 as the study's {field}: look, and keep it.", "ok"
        )
        self.trained.emit(field, str(out))


def is_trained(folder: Path) -> bool:
    """Return whether a folder holds a trained part."""
    return (folder / "recipe.json").exists()


def list_part_folders(models: Path, part: str) -> list[Path]:
    """Return the folders that a part may lie in, first to last; the last one is free."""
    found = [models / part]
    while is_trained(found[-1]):
        found.append(models / f"{part}-{len(found) + 1}")
    return found


def choose_part_folder(models: Path, part: str) -> Path:
    """Return where a part is trained: where it was stopped, else the first free folder."""
    return list_part_folders(models, part)[-1]


def find_latest_part(models: Path, part: str) -> Path | None:
    """Return the newest trained part; None before the first."""
    folders = list_part_folders(models, part)
    return folders[-2] if len(folders) > 1 else None
