"""Controls of the view: what is laid out how, and in which window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from napari_memscan.widgets.common.box_layouts import make_column, make_row
from napari_memscan.widgets.common.orientation import PLANES
from napari_memscan.widgets.viewing.actions import VIEW_ACTIONS, ViewAction, perform_view_action
from napari_memscan.widgets.viewing.case import BLINK, FADE, LAYOUTS, PAIR_MODES, RENDERINGS
from napari_memscan.widgets.viewing.viewer_controller import ViewerController
from napari_memscan.widgets.viewing.window_level_controller import CUSTOM

LAYOUT_LABELS = {"grid": "Grid", "pair": "Pair", "planes": "Planes", "3D": "3D"}
RENDERING_LABELS = {"mip": "MIP", "attenuated_mip": "Attenuated MIP", "translucent": "Translucent"}
SIDES_HELP = (
    "Radiological: the patient's right is on the left, marked R. Neurological: on the right"
)
OFFSET_HELP = "Slices that the partner, not registered, is ahead"
MOUSE_HELP = (
    "Wheel: slices. Ctrl+wheel: zoom. Right or Shift+drag: window. Click: partner, crosshair."
)


class ViewingBar(QWidget):
    """Three lines of controls that follow a `ViewerController`.

    Attributes
    ----------
    layout_chosen, mode_chosen, plane_chosen, preset_chosen, rendering_chosen : Signal(str)
    partner_chosen, offset_chosen : Signal(int)
        Index of a neighbour; slices.
    blink_chosen : Signal(bool, int)
        Whether a timer blinks; milliseconds.
    fade_chosen : Signal(float)
        In [0, 1].
    radiological_chosen : Signal(bool)
    window_chosen : Signal(float, float)
        Width and level in units.
    """

    layout_chosen = Signal(str)
    mode_chosen = Signal(str)
    plane_chosen = Signal(str)
    preset_chosen = Signal(str)
    rendering_chosen = Signal(str)
    partner_chosen = Signal(int)
    offset_chosen = Signal(int)
    blink_chosen = Signal(bool, int)
    fade_chosen = Signal(float)
    radiological_chosen = Signal(bool)
    window_chosen = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewing: ViewerController | None = None
        self._make_layouts()
        self._make_pair()
        self._make_window()
        self.set_keys({name: key for name, (_, key) in VIEW_ACTIONS.items()})
        rows: list[Sequence[QWidget | tuple[QWidget, int]]] = [
            (*self.layouts.values(), (self.plane, 1), self.side),
            ((self.mode, 1), (self.partner, 1), (self.extra, 1)),
            ((self.preset, 1), QLabel("W"), self.width_, QLabel("L"), self.level, self.reset),
        ]
        layout = make_column(self, spacing=3)
        for row in rows:
            line = make_row(spacing=3)
            for entry in row:
                widget, stretch = entry if isinstance(entry, tuple) else (entry, 0)
                line.addWidget(widget, stretch)
            layout.addLayout(line)
        self.setToolTip(MOUSE_HELP)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.extra.setFixedHeight(self.mode.sizeHint().height())

    def _make_layouts(self) -> None:
        self.layouts: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        for name in LAYOUTS:
            button = QPushButton(LAYOUT_LABELS[name])
            button.setCheckable(True)
            button.setStyleSheet("padding: 3px 5px;")
            button.setAccessibleName(f"layout {name}")
            button.clicked.connect(lambda _=False, n=name: self.layout_chosen.emit(n))
            group.addButton(button)
            self.layouts[name] = button
        self.plane = _make_combo_box(PLANES, "plane")
        self.plane.textActivated.connect(self.plane_chosen)
        self.side = QToolButton()
        self.side.setCheckable(True)
        self.side.setAccessibleName("radiological convention")
        self.side.clicked.connect(self.radiological_chosen)

    def _make_pair(self) -> None:
        self.mode = _make_combo_box(PAIR_MODES, "way to show the pair")
        self.mode.textActivated.connect(self.mode_chosen)
        self.partner = _make_combo_box((), "partner")
        self.partner.activated.connect(self.partner_chosen)
        self.fade = QSlider(Qt.Orientation.Horizontal)
        self.fade.setRange(0, 100)
        self.fade.setAccessibleName("share of the partner in percent")
        self.fade.setToolTip("Left: the first of the two. Right: its partner")
        self.fade.valueChanged.connect(lambda value: self.fade_chosen.emit(value / 100))
        self.blink = QSpinBox()
        self.blink.setRange(100, 3000)
        self.blink.setSingleStep(100)
        self.blink.setSuffix(" ms")
        self.blink.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.blink.setAccessibleName("blink every so many milliseconds")
        self.blink.setToolTip("How fast the timer blinks")
        self.blink.valueChanged.connect(self._on_blink)
        self.timer = QPushButton()
        self.timer.setCheckable(True)
        self.timer.setStyleSheet("padding: 3px 5px;")
        self.timer.clicked.connect(self._on_blink)
        self.blinking = QWidget()
        beside = QHBoxLayout(self.blinking)
        beside.setContentsMargins(0, 0, 0, 0)
        beside.setSpacing(3)
        beside.addWidget(self.timer)
        beside.addWidget(self.blink, 1)
        self.offset = QSpinBox()
        self.offset.setRange(-999, 999)
        self.offset.setPrefix("offset ")
        self.offset.setAccessibleName("offset of the unregistered partner in slices")
        self.offset.valueChanged.connect(self.offset_chosen)
        self.rendering = _make_combo_box(RENDERING_LABELS.values(), "3D rendering")
        self.rendering.setToolTip("How 3D is rendered")
        self.rendering.activated.connect(lambda i: self.rendering_chosen.emit(RENDERINGS[i]))
        self.extra = QStackedWidget()
        for widget in (QWidget(), self.fade, self.blinking, self.offset, self.rendering):
            self.extra.addWidget(widget)

    def _make_window(self) -> None:
        self.preset = _make_combo_box((), "window")
        self.preset.textActivated.connect(self.preset_chosen)
        self.width_, self.level = QDoubleSpinBox(), QDoubleSpinBox()
        for box, name, low in ((self.width_, "width", 0), (self.level, "level", -99999)):
            box.setRange(low, 99999)
            box.setDecimals(0)
            box.setKeyboardTracking(False)
            box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            box.setMaximumWidth(64)
            box.setAccessibleName(f"window {name}")
            box.valueChanged.connect(self._on_numbers)
        self.width_.setToolTip("Window width: right drag to the side")
        self.level.setToolTip("Window level: right drag up and down")
        self.reset = QPushButton("↺")
        self.reset.setAccessibleName("Reset window")
        self.reset.setMaximumWidth(28)
        self.reset.clicked.connect(lambda: self.preset_chosen.emit("Full"))

    def _on_numbers(self, _value: float) -> None:
        self.window_chosen.emit(self.width_.value(), self.level.value())

    def _on_blink(self) -> None:
        self.blink_chosen.emit(self.timer.isChecked(), self.blink.value())

    def set_keys(self, keys: Mapping[Any, str]) -> None:
        """Say in tooltips which key does what; an action without a key is none there."""
        tips: list[tuple[QWidget, str]] = [
            *((button, "Layout; next one: {layout}") for button in self.layouts.values()),
            (self.plane, "Plane; next one: {plane}"),
            (self.side, f"{SIDES_HELP}; the other one: {{left and right}}"),
            (self.mode, "How the pair is shown; next one: {pair mode}"),
            (self.partner, "Compared with; next one: {partner}"),
            (self.timer, "Blink by a timer; once by key: {blink}"),
            (self.offset, f"{OFFSET_HELP}; one more: {{offset up}}; one less: {{offset down}}"),
            (self.preset, "Window; next one: {window}"),
            (self.reset, "The whole range of grey; key: {reset window}"),
        ]
        chosen = {action.value: keys.get(action, "") for action in ViewAction}
        for widget, tip in tips:
            parts = [part.format_map(chosen) for part in tip.split("; ")]
            widget.setToolTip("; ".join(part for part in parts if not part.endswith(": ")))

    # What it controls

    def set_viewing(self, viewing: ViewerController) -> None:
        """Control this, and follow it."""
        self._viewing = viewing
        self.layout_chosen.connect(viewing.set_layout)
        self.mode_chosen.connect(viewing.set_pair_mode)
        self.plane_chosen.connect(viewing.set_plane)
        self.preset_chosen.connect(viewing.set_preset)
        self.rendering_chosen.connect(viewing.set_rendering)
        self.partner_chosen.connect(viewing.set_partner)
        self.offset_chosen.connect(viewing.set_offset)
        self.fade_chosen.connect(viewing.set_fade)
        self.radiological_chosen.connect(viewing.set_radiological)
        self.window_chosen.connect(viewing.set_width_level)
        self.blink_chosen.connect(viewing.set_blinking)
        viewing.state_changed.connect(self.follow)
        self.follow()

    def act(self, action: ViewAction) -> None:
        """Do what a key says."""
        if self._viewing is not None:
            perform_view_action(self._viewing, action)

    def follow(self) -> None:
        """Show what is so now."""
        viewing = self._viewing
        if viewing is None:
            return
        blockers = [QSignalBlocker(widget) for widget in self._controls()]
        for name, button in self.layouts.items():
            button.setChecked(name == viewing.layout)
            # Told by more than its colour.
            button.setText(
                f"{LAYOUT_LABELS[name]} ●" if name == viewing.layout else LAYOUT_LABELS[name]
            )
        self.plane.setCurrentText(viewing.plane)
        self.plane.setEnabled(viewing.layout != "3D")
        self.side.setText("R|L" if viewing.state.radiological else "L|R")
        self.side.setChecked(viewing.state.radiological)
        titles = [shown.title for shown in viewing.case.neighbours] if viewing.case else []
        _fill_combo_box(self.partner, titles)
        self.partner.setCurrentIndex(viewing.partner)
        self.partner.setEnabled(len(titles) > 1)
        registered = viewing.registered
        self.mode.setCurrentText(viewing.pair_mode if registered else PAIR_MODES[0])
        self.mode.setEnabled(viewing.layout == "pair" and registered)
        self._follow_extra(viewing, registered and viewing.layout == "pair", registered)
        _fill_combo_box(self.preset, [*viewing.window.presets, CUSTOM])
        self.preset.setCurrentText(viewing.window.preset)
        width, level = viewing.window.width_level
        self.width_.setValue(width)
        self.level.setValue(level)
        for box in (self.width_, self.level):
            box.setSuffix("" if viewing.window.units.known else " %")
        del blockers

    def _follow_extra(self, viewing: ViewerController, blended: bool, registered: bool) -> None:
        widget: QWidget = self.extra.widget(0)
        if viewing.layout == "3D":
            widget = self.rendering
            self.rendering.setCurrentIndex(RENDERINGS.index(viewing.state.rendering))
        elif viewing.layout in ("pair", "planes") and viewing.case is not None and not registered:
            widget = self.offset
            self.offset.setValue(viewing.offset)
        elif blended and viewing.pair_mode == FADE:
            widget = self.fade
            self.fade.setValue(round(100 * viewing.state.fade))
        elif blended and viewing.pair_mode == BLINK:
            widget = self.blinking
            self.blink.setValue(viewing.blink_interval)
            self.timer.setChecked(viewing.blinking)
            # Told by more than its colour.
            self.timer.setText("■ Stop" if viewing.blinking else "▶ Blink")
        self.extra.setCurrentWidget(widget)
        # Nothing there: its room is the mode's, which has long names.
        self.extra.setVisible(widget is not self.extra.widget(0))

    def _controls(self) -> list[QWidget]:
        return [
            *self.layouts.values(),
            self.plane,
            self.side,
            self.mode,
            self.partner,
            self.fade,
            self.blink,
            self.timer,
            self.offset,
            self.rendering,
            self.preset,
            self.width_,
            self.level,
        ]


def _make_combo_box(names: Any, what: str) -> QComboBox:
    box = QComboBox()
    box.addItems(list(names))
    box.setAccessibleName(what)
    # As wide as its place, not as its longest entry.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    return box


def _fill_combo_box(box: QComboBox, names: Sequence[str]) -> None:
    if [box.itemText(i) for i in range(box.count())] != list(names):
        box.clear()
        box.addItems(list(names))
