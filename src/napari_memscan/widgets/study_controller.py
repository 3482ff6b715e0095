"""Connects step 1 to studies on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan.embedders.loading import LOW_RESOLUTION
from napari_memscan.errors import BadInput, MemscanError
from napari_memscan.study import Study
from napari_memscan.widgets.choices import (
    Finding,
    absolute,
    changes,
    configuration,
    count,
    differing,
    look_at,
)
from napari_memscan.widgets.study_view import FIELDS, StudyView
from napari_memscan.widgets.work import Outcome, Runner


class Checker(QObject):
    """Looks at one field in a worker; of several values in a row only the last counts."""

    found = Signal(str, object)

    def __init__(self, field: str, parent: QObject) -> None:
        super().__init__(parent)
        self._field = field
        self._runner = Runner(self)
        self._runner.finished.connect(self._on_finished)
        self._wanted: str | None = None
        self._running: str | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._runner.busy

    def check(self, value: str) -> None:
        """Ask; `found` answers."""
        self._wanted = value
        if not self._runner.busy:
            self._running = value
            self._runner.start(partial(look_at, self._field, value))

    def forget(self) -> None:
        """Drop the answer that is on its way."""
        self._wanted = None

    def _on_finished(self, outcome: Outcome) -> None:
        if self._wanted is None:
            return
        if self._wanted != self._running:
            self.check(self._wanted)
            return
        finding = Finding(outcome.failure, "error") if outcome.failure else outcome.value
        self.found.emit(self._field, finding)


class StudyController(QObject):
    """Opens, creates and changes studies.

    Attributes
    ----------
    opened : Signal(object)
        Another `Study` is open.
    changed : Signal()
        The open study has another generator or embedder.
    closed : Signal()
        No study is open any more: a new one is being made.
    """

    opened = Signal(object)
    changed = Signal()
    closed = Signal()

    def __init__(
        self, view: StudyView, demo: Callable[[], Study], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._view = view
        self._demo = demo
        self._study: Study | None = None
        self._findings: dict[str, Finding] = {}
        self._runner = Runner(self)
        self._runner.finished.connect(self._on_study)
        self._checkers = {field: Checker(field, self) for field in FIELDS}
        for checker in self._checkers.values():
            checker.found.connect(self._on_found)
        view.open_requested.connect(self.open)
        view.new_requested.connect(self.new)
        view.demo_requested.connect(self.open_demo)
        view.choice_changed.connect(self._on_choice)
        view.confirmed.connect(self._on_confirmed)
        self.new()

    @property
    def study(self) -> Study | None:
        """The open study."""
        return self._study

    @property
    def busy(self) -> bool:
        """Whether a study is being opened or a choice looked at."""
        return self._runner.busy or any(c.busy for c in self._checkers.values())

    def new(self) -> None:
        """Start an empty form."""
        was_open, self._study = self._study is not None, None
        self._findings = {"embedder": look_at("embedder", "")}
        for checker in self._checkers.values():
            checker.forget()
        self._view.set_new()
        self._view.set_feedback("embedder", *_shown(self._findings["embedder"]))
        self._update_button()
        if was_open:
            self.closed.emit()

    def open(self, folder: str | Path) -> None:
        """Open a study."""
        self._work(partial(Study.open, folder), f"Opening {folder} …")

    def open_demo(self) -> None:
        """Open the demo study; its phantoms are drawn first where they are missing."""
        self._work(self._demo, "Drawing the demo's phantoms; this takes a few seconds …")

    def _work(self, make: Callable[[], Any], text: str) -> None:
        if self._runner.start(make):
            self._view.set_busy(text)

    def _on_study(self, outcome: Outcome) -> None:
        self._view.set_busy("")
        self._update_button()
        if outcome.failure:
            self._view.message.say(outcome.failure, "error")
            return
        self._study = outcome.value
        self._show_open()
        self.opened.emit(outcome.value)

    def _show_open(self) -> None:
        study = self._study
        assert study is not None
        generator = study.config.generator
        embedder = "" if study.config.embedder == LOW_RESOLUTION else study.config.embedder
        values = {
            "folder": str(study.folder),
            "cohort": str(study.cohort_path),
            "generator": absolute(study, generator.path) if generator else "",
            "embedder": absolute(study, embedder),
        }
        self._findings = {}
        self._view.set_open(study.config.name, values)
        shape = " x ".join(map(str, study.config.preprocessing.shape))
        rule = study.config.preprocessing.intensity.rule
        self._view.message.say(f"Open. Volumes are compared at {shape}, intensity by {rule}.", "ok")
        self._view.set_feedback("folder", "", "info")
        cohort = study.cohort
        text = count(cohort) + "".join(f"\n⚠ {w}" for w in cohort.warnings)
        self._view.set_feedback("cohort", text, "warning" if cohort.warnings else "ok")
        for field in ("generator", "embedder"):
            self._checkers[field].check(values[field])
        self._update_button()

    def _on_choice(self, field: str, value: str) -> None:
        self._findings.pop(field, None)
        self._view.set_feedback(field, "Looking …" if value else "", "info")
        self._checkers[field].check(value)
        self._update_button()

    def _on_found(self, field: str, finding: Finding) -> None:
        self._findings[field] = finding
        self._view.set_feedback(field, *_shown(finding))
        self._update_button()

    def _values(self) -> dict[str, Any]:
        return {field: finding.value for field, finding in self._findings.items()}

    def _update_button(self) -> None:
        values = self._values()
        wrong = [f for f, finding in self._findings.items() if finding.level == "error"]
        if wrong:
            self._view.set_confirmable(False, f"Mend first: {', '.join(wrong)}")
        elif self._study is not None:
            self._view.set_confirmable(bool(differing(self._study, values)), "Nothing was changed")
        else:
            needed = ["folder", "cohort", "generator"]
            cohort = values.get("cohort")
            if cohort is not None and cohort.counts()["synthetic"]:
                needed.remove("generator")
            missing = [field for field in needed if values.get(field) is None]
            self._view.set_confirmable(not missing, f"Still to choose: {', '.join(missing)}")

    def _on_confirmed(self) -> None:
        values = self._values()
        if self._study is None:
            self._work(partial(_create, values), "Making the study …")
            return
        try:
            self._study.update(**changes(self._study, values))
        except MemscanError as error:
            self._view.message.say(str(error), "error")
            return
        self._view.message.say(
            "Changes kept. Scan again: the last scan was made before.", "warning"
        )
        self._update_button()
        self.changed.emit()


def _shown(finding: Finding) -> tuple[str, str]:
    return finding.text, finding.level


def _create(values: dict[str, Any]) -> Study:
    folder, cohort = values["folder"], values["cohort"]
    if folder is None or cohort is None:
        raise BadInput("Choose a folder and a cohort first.")
    return Study.create(folder, configuration(values, cohort, folder.name), cohort)
