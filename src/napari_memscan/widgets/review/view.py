"""Step 3: read the synthetic volumes one by one and decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QSpinBox, QWidget

from napari_memscan.widgets.common.box_layouts import (
    add_widgets,
    make_column,
    make_row,
    make_separator,
    make_wrapped_label,
)
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.generate.selftest_row import SelfTestRow
from napari_memscan.widgets.review.actions import Action
from napari_memscan.widgets.review.decision_view import DecisionView
from napari_memscan.widgets.review.queue_view import QueueView
from napari_memscan.widgets.viewing.bar import ViewingBar


class ReviewView(QWidget):
    """What the scan found, the queue, the decision, and how volumes are looked at.

    Attributes
    ----------
    k_changed : Signal(int)
        So many neighbours are wanted beside the volume.
    reader_changed : Signal()
        Somebody else reads.
    statistics_requested, blind_requested, help_requested : Signal()
        Show the statistics; begin or end a blind reading; show the keys.
    queue : QueueView
    decision : DecisionView
    bar : ViewingBar
    """

    k_changed = Signal(int)
    reader_changed = Signal()
    statistics_requested = Signal()
    blind_requested = Signal()
    help_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary = make_wrapped_label()
        # Why the verdicts must be doubted: read without hovering. There are two such reasons.
        self.alarms = (Message(), Message())
        self.warnings = Message()
        self.message = Message()
        self.detail = make_wrapped_label()
        self.queue = QueueView()
        self.decision = DecisionView()
        self.bar = ViewingBar()
        # Its widest line can give a few pixels: beside a scroll bar it would be cut.
        self.bar.setMinimumWidth(350)
        self.selftest = SelfTestRow()
        self._make_reader()
        self._lay_out()

    def _make_reader(self) -> None:
        self.reader = QLineEdit()
        self.reader.setToolTip("Your name, stored with every decision")
        self.reader.setAccessibleName("Reader")
        self.reader.setMaximumWidth(120)
        self.reader.editingFinished.connect(self.reader_changed)
        self.k = QSpinBox()
        self.k.setRange(1, 1)
        self.k.setMaximumWidth(70)
        self.k.setToolTip("Nearest training volumes shown beside the synthetic one")
        self.k.setAccessibleName("Neighbours")
        self.k.valueChanged.connect(self.k_changed)
        self.statistics, self.blind, self.help = (QPushButton(t) for t in ("Statistics", "", "?"))
        self.statistics.clicked.connect(self.statistics_requested)
        self.blind.clicked.connect(self.blind_requested)
        self.help.clicked.connect(self.help_requested)
        self.help.setAccessibleName("Keys")
        self.help.setToolTip("All keys")
        self.help.setMaximumWidth(26)
        self.blind.setText("Blind …")
        self.blind.setToolTip("Read without scores and names, mixed with real volumes")
        for button in (self.statistics, self.blind, self.help):
            button.setStyleSheet("padding: 3px 5px;")

    def _lay_out(self) -> None:
        reading = make_row(spacing=4)
        reading.addWidget(self.queue.progress, 1)
        add_widgets(reading, QLabel("Reader"), self.reader)
        more = make_row(spacing=4)
        more.addWidget(self.statistics, 1)
        more.addWidget(self.blind, 1)
        add_widgets(more, QLabel("Neighbours"), self.k, self.help)
        layout = make_column(self, spacing=4)
        layout.addWidget(self.summary)
        for alarm in self.alarms:
            layout.addWidget(alarm)
        layout.addWidget(self.warnings)
        layout.addLayout(reading)
        layout.addWidget(self.queue, 1)
        add_widgets(layout, self.message, self.detail, self.decision)
        add_widgets(layout, make_separator(), self.bar, make_separator())
        layout.addLayout(more)
        layout.addWidget(self.selftest)

    def set_keys(self, keys: Mapping[Action, str]) -> None:
        """Say which key does what."""
        self.queue.set_keys(keys)
        self.decision.set_keys(keys)
        self.bar.set_keys(keys)

    def set_neighbours(self, k: int, most: int) -> None:
        """Set the number of neighbours shown, and how many there are, without a signal."""
        self.k.blockSignals(True)
        self.k.setRange(1, max(most, 1))
        self.k.setValue(k)
        self.k.blockSignals(False)

    def set_summary(
        self,
        text: str,
        explained: str = "",
        warnings: Sequence[str] = (),
        alarms: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Show the scan's numbers, what they mean on hovering, and how much is to be known.

        Parameters
        ----------
        text, explained : str
            The numbers, and what is read on hovering.
        warnings : sequence of str
            Counted; read on hovering.
        alarms : sequence of (str, str)
            At most two: what is read at once, and all of it on hovering.
        """
        self.summary.setText(text)
        self.summary.setToolTip(explained)
        for i, message in enumerate(self.alarms):
            shown, more = alarms[i] if i < len(alarms) else ("", "")
            message.say(shown, "warning", more)
        n = len(warnings)
        text = f"{n} warning{'s' if n > 1 else ''} on these numbers: press to read" if n else ""
        self.warnings.say(text, "warning", "\n\n".join(warnings))

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        for message in (self.message, self.warnings, *self.alarms):
            message.set_theme(look)
        self.selftest.set_theme(look)
        self.queue.set_theme(look)
