"""Connects step 1 to studies on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_memscan import jobs
from napari_memscan.errors import MemscanError
from napari_memscan.study import Study
from napari_memscan.widgets.common.hints import describe_error
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.study.field_checker import FieldChecker
from napari_memscan.widgets.study.field_status import FieldChoice, FieldStatus
from napari_memscan.widgets.study.form_state import find_missing_fields
from napari_memscan.widgets.study.inspect import format_cohort_counts, inspect_field
from napari_memscan.widgets.study.inspect_model import get_absolute_model_path
from napari_memscan.widgets.study.tasks import (
    create_chosen_study,
    find_changed_models,
    get_study_models,
    make_field_choice,
    open_checked_study,
    prepare_model_changes,
    write_model_changes,
)
from napari_memscan.widgets.study.trust_dialog import REFUSED, SessionTrust
from napari_memscan.widgets.study.view import FIELDS, MODELS, StudyView

TYPING_DELAY = 600
"""Milliseconds without a key after which what is typed is looked at."""


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
    told : Signal(str)
        What is to be done next in the form; empty where nothing is.
    """

    opened = Signal(object)
    changed = Signal()
    closed = Signal()
    told = Signal(str)

    def __init__(
        self,
        view: StudyView,
        demo: Callable[[], Study],
        parent: QObject | None = None,
        trust: SessionTrust | None = None,
    ) -> None:
        super().__init__(parent)
        self._view = view
        self._demo = demo
        self._trust = trust or SessionTrust()
        self._trusted: dict[str, str] = {}
        self._waiting = ""
        self.next_step = ""
        self._study: Study | None = None
        self._shown: dict[str, FieldChoice] = {}
        self._findings: dict[str, FieldStatus] = {}
        self._after: Callable[[Any], None] = self._on_study
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        self._checkers = {field: FieldChecker(field, self) for field in FIELDS}
        for checker in self._checkers.values():
            checker.found.connect(self._on_found)
        view.open_requested.connect(self.open)
        view.new_requested.connect(self.new)
        view.demo_requested.connect(self.open_demo)
        view.choice_changed.connect(self._on_choice)
        view.statement_changed.connect(self._on_statement)
        view.trust_requested.connect(self._on_trust)
        view.confirmed.connect(self._on_confirmed)
        view.stop_requested.connect(self.stop)
        self.new()

    @property
    def study(self) -> Study | None:
        """The open study."""
        return self._study

    @property
    def busy(self) -> bool:
        """Whether a study is being opened, made or changed, or a choice looked at."""
        return self._runner.busy or any(c.busy for c in self._checkers.values())

    def new(self) -> None:
        """Start an empty form."""
        was_open, self._study = self._study is not None, None
        self._shown, self._trusted = {}, {}
        self._findings = {"embedder": inspect_field("embedder", "")}
        for checker in self._checkers.values():
            checker.forget()
        self._view.set_new()
        self._view.set_finding("embedder", self._findings["embedder"])
        self._update_button()
        if was_open:
            self.closed.emit()

    def open(self, folder: str | Path) -> None:
        """Open a study."""
        make = partial(open_checked_study, partial(Study.open, folder))
        self._work(make, f"Opening {folder} …", self._on_study)

    def open_demo(self) -> None:
        """Open the demo study; its phantoms are drawn first where they are missing."""
        text = "Drawing the demo's phantoms; this takes a few seconds …"
        self._work(partial(open_checked_study, self._demo), text, self._on_study)

    def stop(self) -> None:
        """End the job that makes or changes a study after the volume that it is at."""
        if self._runner.busy:
            self._view.set_stopping()
            self._runner.stop()

    def _work(
        self,
        make: Callable[[], Any],
        text: str,
        after: Callable[[Any], None],
        stoppable: bool = False,
    ) -> None:
        if self._runner.start(make):
            self._after = after
            self._waiting = "wait, or Stop" if stoppable else "wait"
            self._update_button()
            self._view.set_busy(text, stoppable)

    def _on_progress(self, news: Any) -> None:
        if isinstance(news, jobs.Progress):
            text = f"Encoding training volumes: {news.done} of {news.total} …"
            if news.done == news.total:
                text = "Loading and testing the models …"
            self._view.set_progress(news.done, news.total, text)

    def _on_finished(self, outcome: JobOutcome) -> None:
        self._view.set_busy("")
        self._update_button()
        if outcome.failure:
            self._view.message.say(outcome.failure, "error")
        elif outcome.stopped:
            self._view.message.say("Stopped. Nothing was written.", "warning")
        else:
            self._after(outcome.value)

    def _on_study(self, study: Study) -> None:
        self._study = study
        self._show_open()
        self.opened.emit(study)

    def _show_open(self) -> None:
        study = self._study
        assert study is not None
        models = get_study_models(study)
        self._shown = {field: make_field_choice(models[field]) for field in MODELS}
        self._trusted = {f: choice.path for f, choice in self._shown.items() if choice.trust}
        choices = self._shown | {
            "folder": FieldChoice(str(study.folder)),
            "cohort": FieldChoice(str(study.cohort_path)),
        }
        self._findings = {}
        self._view.set_open(study.config.name, choices)
        shape = " x ".join(map(str, study.config.preprocessing.shape))
        rule = study.config.preprocessing.intensity.rule
        self._view.message.say(f"Open. Volumes are compared at {shape}, intensity by {rule}.", "ok")
        self._view.set_finding("folder", FieldStatus("", "info"))
        of_model = set(study.config.model_warnings)
        warnings = [w for w in study.cohort.warnings if w not in of_model]
        text = format_cohort_counts(study.cohort) + "".join(f"\n⚠ {w}" for w in warnings)
        self._view.set_finding("cohort", FieldStatus(text, "warning" if warnings else "ok"))
        for field in MODELS:
            self._check(field)
        self._update_button()

    def _choice(self, field: str) -> FieldChoice:
        """Return what stands in a field; what is known of the study's own model goes with it."""
        path, stated = self._view.rows[field].value, self._view.statement(field)
        shown = self._shown.get(field, FieldChoice(""))
        same = (path, stated) == (shown.path, shown.stated)
        trust = bool(path) and self._trusted.get(field) == path
        return FieldChoice(path, stated, trust, shown.kept if same else {})

    def _check(self, field: str, delay: int = 0) -> None:
        self._findings.pop(field, None)
        self._view.set_checking(field)
        self._checkers[field].check(self._choice(field), delay)
        self._update_button()

    def _on_choice(self, field: str, _value: str) -> None:
        # Trust is for one path; it does not come back with it either.
        self._trusted.pop(field, None)
        self._check(field)

    def _on_statement(self, field: str, _text: str) -> None:
        self._check(field, TYPING_DELAY)

    def _on_trust(self, field: str) -> None:
        path = self._view.rows[field].value
        finding = self._findings.get(field)
        if finding is None or not finding.code:
            return
        if self._trust.ask(get_absolute_model_path(path), finding.code, self._view):
            self._trusted[field] = path
            self._check(field)

    def _on_found(self, field: str, finding: FieldStatus) -> None:
        self._findings[field] = finding
        self._view.set_finding(field, self._with_warnings(field, finding))
        self._update_button()

    def _with_warnings(self, field: str, finding: FieldStatus) -> FieldStatus:
        """Add what the test of the open study's own generator had to say."""
        study = self._study
        if (
            field != "generator"
            or study is None
            or finding.value != get_study_models(study)["generator"]
        ):
            return finding
        warnings = study.config.model_warnings
        text = finding.text + "".join(f"\n⚠ {w}" for w in warnings)
        return replace(finding, text=text, level="warning" if warnings else finding.level)

    def _values(self) -> dict[str, Any]:
        return {field: finding.value for field, finding in self._findings.items()}

    def _update_button(self) -> None:
        waiting = any(checker.waiting for checker in self._checkers.values())
        study = self._study
        differs = None if study is None else bool(find_changed_models(study, self._values()))
        why_not, following = find_missing_fields(self._findings, waiting, differs)
        self._view.set_confirmable(not why_not and not self._runner.busy, why_not)
        self.next_step = self._waiting if self._runner.busy else following
        self.told.emit(self.next_step)

    def _on_confirmed(self) -> None:
        values = self._values()
        models = [values.get(field) for field in MODELS]
        for model in models:
            if model is not None and model.trust and not self._trust.allows(model.path, self._view):
                self._view.message.say(REFUSED, "warning")
                return
        if self._study is None:
            text = "Making the study: loading and testing the models …"
            self._work(partial(create_chosen_study, values), text, self._on_study, stoppable=True)
        else:
            text = "Loading and testing what was changed …"
            make = partial(prepare_model_changes, self._study, values)
            self._work(make, text, self._on_changes, stoppable=True)

    def _on_changes(self, changes: dict[str, Any]) -> None:
        assert self._study is not None
        try:
            write_model_changes(self._study, changes)
        except MemscanError as error:
            self._view.message.say(describe_error(error), "error")
            return
        self._show_open()
        self._view.message.say(
            "Changes kept. Scan again: the last scan was made before.", "warning"
        )
        self.changed.emit()
