"""What the detector was measured to find in this study, or the button that measures it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from napari_memscan.widgets.common.box_layouts import make_column
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours


class SelfTestRow(QWidget):
    """A line of text, and a button where there is something to measure.

    Attributes
    ----------
    measure_requested : Signal()
        Measure the detector.
    stop_requested : Signal()
        End the measuring.
    """

    measure_requested = Signal()
    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.message = Message()
        self.button = QPushButton("Measure the detector")
        self.button.setToolTip(
            "Plants perturbed copies of this study's training volumes and counts what is found; "
            "'memscan selftest' does the same"
        )
        # The focus stays in the table, and Space never presses a button by accident.
        self.button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.button.clicked.connect(self.measure_requested)
        self.bar = QProgressBar()
        self.stop_button = QPushButton("Stop")
        self.stop_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.stop_button.clicked.connect(self.stop_requested)
        running = QHBoxLayout()
        running.addWidget(self.bar, 1)
        running.addWidget(self.stop_button)
        told = QHBoxLayout()
        told.addWidget(self.message, 1)
        told.addWidget(self.button, 0, Qt.AlignmentFlag.AlignTop)
        layout = make_column(self, spacing=3)
        layout.addLayout(told)
        layout.addLayout(running)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.say("", "info", button=False)
        self.set_running("")

    def say(self, text: str, level: str, more: str = "", *, button: bool) -> None:
        """Show a text at a level of `message.SYMBOLS`, with the button or without."""
        self.message.say(text, level, more)
        self.button.setVisible(button)

    def set_running(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show how far the measuring is; an empty text says that none runs."""
        self.bar.setVisible(bool(text))
        self.stop_button.setVisible(bool(text))
        self.button.setEnabled(not text)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.setFormat("%v of %m" if total else text)
        self.bar.setToolTip(text)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)
