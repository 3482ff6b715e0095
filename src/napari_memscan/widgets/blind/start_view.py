"""The first page of a blind reading: what it is, and how it shall be."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QWidget,
)

from napari_memscan.widgets.common.box_layouts import add_widgets, make_column, make_wrapped_label
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours

INTRODUCTION = (
    "Blind reading shows volumes without names, scores and verdicts, in random order, with real "
    "volumes among them. So your answers say what the eye sees and not what the program said."
)
KINDS = ("Is A a copy of B?", "Which one is the real one?")
REVEALS = ("after each case", "after the last one")


@dataclass(frozen=True)
class BlindOptions:
    """What was chosen.

    Attributes
    ----------
    forced_choice : bool
        Which of two is real is asked, and not whether A is a copy of B.
    cases : int or None
        How many; None for all.
    planted : int
        Copies made on purpose to be mixed in.
    reveal : str
        ``case`` or ``end``.
    washout_days : int
        What the reader saw in these days is left out.
    new : bool
        Not the plan that there is.
    """

    forced_choice: bool = False
    cases: int | None = None
    planted: int = 0
    reveal: str = "case"
    washout_days: int = 0
    new: bool = False


class StartView(QWidget):
    """Choices, and the progress while a plan is made.

    Attributes
    ----------
    start_requested, cancel_requested, stop_requested, kind_changed : Signal()
    message : Message
    """

    start_requested = Signal()
    cancel_requested = Signal()
    stop_requested = Signal()
    kind_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._there = False
        self.message = Message()
        self.what = make_wrapped_label(INTRODUCTION)
        self.reader = make_wrapped_label()
        self._make_choices()
        self._make_buttons()
        self._lay_out()
        self.set_last_reading("")
        self.set_busy("")

    def _make_choices(self) -> None:
        self.kinds, self.reveals = QButtonGroup(self), QButtonGroup(self)
        for group, texts in ((self.kinds, KINDS), (self.reveals, REVEALS)):
            for i, text in enumerate(texts):
                group.addButton(QRadioButton(text, self), i)  # the group does not own it
            group.button(0).setChecked(True)
        self.kinds.idClicked.connect(lambda _i: self.kind_changed.emit())
        self.cases = _make_spin_box("Cases", 0, 9999, "all")
        self.cases.setToolTip("A third of them are real volumes, in a forced choice each half")
        self.planted = _make_spin_box("Planted copies", 0, 999)
        self.planted.setToolTip(
            "Copies of training volumes made on purpose: with them it is known how many copies "
            "a reader finds"
        )
        self.washout = _make_spin_box("Days not seen", 0, 3650, "no limit")
        self.washout.setSuffix(" days")
        self.washout.setToolTip("Leaves out what you saw in so many days; four weeks are usual")
        self.new = QCheckBox("Make a new one instead")
        self.new.toggled.connect(self._update)

    def _make_buttons(self) -> None:
        self.start = QPushButton("Start")
        self.start.setDefault(True)
        self.start.clicked.connect(self.start_requested)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self.cancel_requested)
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(self.stop_requested)
        self.bar = QProgressBar()
        self.there = Message()

    def _lay_out(self) -> None:
        self.form = QWidget()
        form = QFormLayout(self.form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(6)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        for title, buttons in (("Question", self.kinds.buttons()),):
            form.addRow(title, _make_column(buttons))
        self.choices = QWidget()
        more = QFormLayout(self.choices)
        more.setContentsMargins(0, 0, 0, 0)
        more.setVerticalSpacing(6)
        more.addRow("Cases", self.cases)
        more.addRow("Planted copies", self.planted)
        more.addRow("Not seen for", self.washout)
        more.addRow("Reveal", _make_column(self.reveals.buttons()))
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 1)
        buttons.addWidget(self.stop, 1)
        buttons.addWidget(self.cancel, 1)
        title = QLabel("<b>Blind reading</b>")
        layout = make_column(self, spacing=10)
        add_widgets(
            layout,
            title,
            self.what,
            self.reader,
            self.form,
            self.there,
            self.new,
            self.choices,
            self.bar,
            self.message,
        )
        layout.addLayout(buttons)
        layout.addStretch(1)

    @property
    def wanted(self) -> BlindOptions:
        """What is chosen."""
        return BlindOptions(
            forced_choice=self.kinds.checkedId() == 1,
            cases=self.cases.value() or None,
            planted=self.planted.value(),
            reveal=("case", "end")[self.reveals.checkedId()],
            washout_days=self.washout.value(),
            new=not self._there or self.new.isChecked(),
        )

    def set_reader(self, name: str) -> None:
        """Say whose reading it is."""
        self.reader.setText(f"Reader: {name} (chosen in step 3)")

    def set_last_reading(self, text: str, finished: bool = False) -> None:
        """Say what became of the last reading of this kind; an empty text: there is none."""
        self._there = bool(text)
        self.there.say(text)
        self.new.setVisible(self._there)
        self.new.setChecked(finished)
        self._update()

    def set_busy(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show how far the plan is; an empty text says that none is made."""
        busy = bool(text)
        for widget in (self.bar, self.stop):
            widget.setVisible(busy)
        for widget in (self.start, self.cancel):
            widget.setVisible(not busy)
        self.form.setEnabled(not busy)
        self.new.setEnabled(not busy)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.setFormat(text)
        self._update()

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self.message.set_theme(look)
        self.there.set_theme(look)

    def _update(self) -> None:
        new = not self._there or self.new.isChecked()
        self.choices.setEnabled(new and not self.bar.isVisibleTo(self))
        self.start.setText("Start" if new else "Go on")


def _make_spin_box(name: str, low: int, high: int, lowest: str = "") -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setSpecialValueText(lowest)
    box.setAccessibleName(name)
    box.setMaximumWidth(110)
    return box


def _make_column(widgets: list[QWidget]) -> QWidget:
    column = QWidget()
    add_widgets(make_column(column, spacing=2), *widgets)
    return column
