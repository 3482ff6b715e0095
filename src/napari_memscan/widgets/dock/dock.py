"""The dock: four steps, and the line that says what comes next."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, QStandardPaths, Qt
from qtpy.QtGui import QGuiApplication, QHideEvent, QShowEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QStackedWidget, QVBoxLayout, QWidget

from napari_memscan.study import Study
from napari_memscan.widgets.blind import BlindController, BlindView
from napari_memscan.widgets.common.floating_window import FloatingWindow
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.common.theme import get_theme_colours
from napari_memscan.widgets.dock.step_bar import StepBar
from napari_memscan.widgets.generate.controller import GenerateController
from napari_memscan.widgets.generate.view import GenerateView
from napari_memscan.widgets.release import ReleaseController, ReleaseView
from napari_memscan.widgets.review.actions import Action, ReviewAction
from napari_memscan.widgets.review.cheat_sheet import CheatSheet
from napari_memscan.widgets.review.claim_renewal import ClaimRenewal
from napari_memscan.widgets.review.controller import ReviewController
from napari_memscan.widgets.review.keys import ReviewKeys, assign_keys
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.statistics import StatisticsWindow
from napari_memscan.widgets.study.controller import StudyController
from napari_memscan.widgets.study.inspect import has_source
from napari_memscan.widgets.study.trust_dialog import SessionTrust
from napari_memscan.widgets.study.view import StudyView
from napari_memscan.widgets.training import TrainController, TrainView
from napari_memscan.widgets.viewing import ViewerController

if TYPE_CHECKING:
    import napari


STUDY, GENERATE, REVIEW, RELEASE = range(4)
BLIND = 4
"""No step of its own: stands in the place of `REVIEW`, and nothing else can be opened then."""
TRAINING_SIZE = (520, 620)
"""Pixels of its window at first."""
WIDTH = 404
"""Pixels: with napari's own docks this leaves half of a 1280 pixel screen to the volumes."""


def get_demo_folder() -> Path:
    """Return the folder of the demo study that the window opens."""
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericCacheLocation)
    return Path(place or Path.home() / ".cache") / "napari-memscan" / "demo-study"


def load_demo_study() -> Study:
    """Make the demo study, or open it if it was made before."""
    from napari_memscan.demo.study import create_demo_study

    return create_demo_study(get_demo_folder())


class MemscanWidget(QWidget):
    """Study, generate, review, release, in one dock.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The window's viewer; only its public interface is used.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer: Any = napari_viewer
        self.steps = StepBar()
        self.study_view = StudyView()
        self.generate_view = GenerateView()
        self.review_view = ReviewView()
        self.release_view = ReleaseView()
        self.blind_view = BlindView()
        self._preferences = Preferences()
        self.review_view.reader.setText(self._preferences.reader or _get_user_name())
        self._stack = QStackedWidget()
        self._views = (
            self.study_view,
            self.generate_view,
            self.review_view,
            self.release_view,
            self.blind_view,
        )
        for view in self._views:
            self._stack.addWidget(_make_scroll_area(view))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.steps)
        layout.addWidget(self._stack, 1)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(WIDTH)

        self.viewing = ViewerController(napari_viewer, self, self._preferences.preload_mb)
        trust = SessionTrust()
        self.study = StudyController(self.study_view, load_demo_study, self, trust)
        self.generate = GenerateController(self.generate_view, self, trust, self._preferences)
        self.review = ReviewController(
            self.review_view, self.viewing, self, trust, self._preferences
        )
        self.release = ReleaseController(self.release_view, self)
        self.blind = BlindController(self.blind_view, self.viewing, self, self._preferences)
        self._keys = ReviewKeys(self, napari_viewer, self._act, self._preferences)
        self._preferences.on_change(self._on_preferences)
        self.steps.chosen.connect(self.go_to)
        self.study.opened.connect(self._on_opened)
        self.study.closed.connect(lambda: self._on_opened(None))
        self.study.changed.connect(self._on_changed)
        self.study.told.connect(lambda _text: self._update())
        self.generate.changed.connect(self._on_scanned)
        self.release.changed.connect(self._update)
        self.release.unread_requested.connect(self._read_unread)
        self.generate.running.connect(self._update)
        self.review.changed.connect(self._on_read)
        self.review.running.connect(self._update)
        self.review_view.help_requested.connect(self.show_keys)
        self.review_view.blind_requested.connect(self.read_blind)
        self.blind_view.case.help_requested.connect(self.show_keys)
        self.blind.changed.connect(self._update)
        self.blind.closed.connect(self._on_seeing)
        self.statistics_window = StatisticsWindow(
            napari_viewer, self.review_view, self.review, self
        )
        self.statistics = self.statistics_window.panel
        self._make_training()
        ClaimRenewal(
            lambda: self.review.session, self._reading, lambda: self._preferences.share_cases, self
        )
        self._on_preferences()
        self._follow_theme()
        napari_viewer.events.theme.connect(self._follow_theme)
        self._update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Ask for a narrow column: the screen belongs to the volumes."""
        return QSize(WIDTH, 700)

    @property
    def step(self) -> int:
        """The open step: one of `STUDY` to `RELEASE`, or `BLIND`."""
        return int(self._stack.currentIndex())

    def open_study(self, folder: str | Path) -> None:
        """Open a study, and go to where its reader left it."""
        self.study.open(folder)

    def open_demo(self) -> None:
        """Open the demo study; it is made first where it is missing."""
        self.study.open_demo()

    def go_to(self, step: int) -> None:
        """Open a step; a blind reading must be ended first."""
        if self.blind.opened:
            return
        self.steps.set_step(step)
        self._stack.setCurrentIndex(step)
        if step == REVIEW:
            self.review.start_reading()
            self.review_view.queue.table.setFocus()
        elif step == RELEASE:
            self.release.look()
        self._update()

    def _read_unread(self, samples: Sequence[str]) -> None:
        self.review.read_these(samples)
        self.go_to(REVIEW)

    def show_keys(self) -> None:
        """Show all keys of the reading room."""
        sheet = CheatSheet(self._preferences, self)
        sheet.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        sheet.show()

    def _act(self, action: Action) -> None:
        if action == ReviewAction.HELP:
            self.show_keys()
        elif self.blind.opened:
            self.blind.act(action)
        elif action == ReviewAction.STATISTICS:
            self.statistics_window.toggle()
        elif action == ReviewAction.SORT:
            self.review_view.queue.sort_next()
        else:
            self.review.act(action)

    def _on_preferences(self) -> None:
        chosen = assign_keys(self._preferences)
        self._keys.reload()
        for part in (self.review_view, self.blind_view.case):
            part.set_keys(chosen)
        self.viewing.set_memory(self._preferences.preload_mb)
        if self._preferences.reader:
            self.review_view.reader.setText(self._preferences.reader)

    def read_blind(self) -> None:
        """Put blind reading in the place of step 3; nothing that tells stays in the window."""
        study, session = self.study.study, self.review.session
        if study is None or session is None or self.blind.opened:
            return
        if self.generate.busy or self.review.busy or self.release.busy:
            self.review_view.message.say("Wait until nothing runs, or Stop; then read blind.")
            return
        self.review.stop_reading()
        self.review.rest()
        self.statistics_window.put_aside()
        # napari goes on saying what was below the mouse last.
        self._viewer.status, self._viewer.help, self._viewer.tooltip.text = "", "", ""
        self.blind.open(study, session.store, session.reader)
        self._stack.setCurrentIndex(BLIND)
        self._update()

    def _on_seeing(self) -> None:
        """Go back to step 3: what was decided after a reveal counts there."""
        self.review_view.message.say("")
        self.review.reload()
        self.statistics_window.bring_back()
        self.go_to(REVIEW if self.review.ready else STUDY)

    def _reading(self) -> str:
        """Return what somebody reads now, in step 3 and with napari as the program in use."""
        active = QGuiApplication.applicationState() == Qt.ApplicationState.ApplicationActive
        there = active and self.isVisible() and self.step == REVIEW
        return self.review_view.queue.current if there else ""

    def _make_training(self) -> None:
        """Make the panel that trains; it is shown when somebody asks for it."""
        self.train_view = TrainView()
        self.train = TrainController(self.train_view, self)
        window = FloatingWindow(
            self._viewer, self.train_view, "Memscan training", TRAINING_SIZE, self
        )
        self.study_view.train_requested.connect(window.show)
        self.train.trained.connect(lambda field, path: self.study_view.rows[field].choose(path))

    def _on_opened(self, study: Study | None) -> None:
        self.blind.close()
        self.generate.set_study(study)
        self.train.set_study(study)
        self.review.set_study(study)
        self.release.set_study(study)
        self.statistics_window.follow(study)
        if not self.review.ready and len(self._viewer.layers):
            # What is there was fitted to the canvas before the dock took its part.
            self._viewer.fit_to_view()
        if study is None:
            self.go_to(STUDY)
        elif self.review.ready:
            self.go_to(REVIEW)
        elif has_source(study):
            self.go_to(GENERATE)
            said = self.review_view.message
            if said.level == "error":  # why there is nothing to read, where it is seen
                self.generate_view.message.say(said.text, "error")
        else:
            self.go_to(STUDY)

    def _on_changed(self) -> None:
        self.generate.set_study(self.study.study)
        self._on_scanned()

    def _on_scanned(self) -> None:
        self.review.reload()
        self._on_read()

    def _on_read(self) -> None:
        self.statistics_window.follow(self.study.study)
        if self.step == RELEASE:
            self.release.look()
        self._update()

    def _update(self, _running: bool = False) -> None:
        study = self.study.study
        read, total = self.review.progress
        scanned = self.review.ready
        done = [study is not None, scanned, scanned and read == total, self.release.released]
        self.steps.set_state(
            done,
            [False, False, scanned, False]
            if self.blind.opened
            else [True, study is not None and has_source(study), scanned, scanned],
            self._next(study, scanned, read, total),
        )
        self._keys.set_active(self.isVisible() and self.step in (REVIEW, BLIND) and scanned)

    def _next(self, study: Study | None, scanned: bool, read: int, total: int) -> str:
        if self.blind.opened:
            return self.blind.next_step
        if self.generate.busy:
            return "wait for generation and scan, or Stop"
        if self.step == STUDY and self.study.next_step:
            return self.study.next_step
        if study is None:
            return "1 Study"
        if not has_source(study):
            return "choose a generator, then Keep changes"
        if not scanned:
            return "Generate and scan" if self.step == GENERATE else "2 Generate"
        if self.step == RELEASE:
            return self.release.next_step
        if read == total:
            return "all read: 4 Release"
        if self.step != REVIEW:
            return f"3 Review, {total - read} to read"
        return "decide on this volume" if self.review.unread_listed else "4 Release, or list others"

    def _follow_theme(self, _event: Any = None) -> None:
        look = get_theme_colours(self._viewer.theme)
        for part in (self.steps, *self._views, self.statistics, self.train_view):
            part.set_theme(look)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Take the keys again."""
        super().showEvent(event)
        self._update()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Give the keys back: nobody should decide with a dock that is not seen."""
        super().hideEvent(event)
        self._keys.set_active(False)
        # Closing the window hides the dock and tells it nothing else.
        self.review.rest()


def _make_scroll_area(view: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(view)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
    return area


def _get_user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user on this system
        return ""
