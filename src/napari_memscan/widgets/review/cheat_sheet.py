"""The keys of the reading room on one page."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

from napari_memscan.widgets.common.box_layouts import add_widgets, make_row, make_wrapped_label
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.review.actions import ACTIONS, DECIDE, LOOK, MOVE, ReviewAction
from napari_memscan.widgets.review.keys import assign_keys

FOOTNOTE = (
    "They work in the dock and on the volumes. Change them in File, Preferences, Memscan. Drag "
    "with the right mouse button: window (across) and level (up and down)."
)


class CheatSheet(QDialog):
    """A window that closes with Escape, or with the key that opened it.

    Parameters
    ----------
    preferences : Preferences
        Say which keys.
    """

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys for reading")
        chosen = assign_keys(preferences)
        self._close_with = chosen[ReviewAction.HELP]
        self.columns: dict[str, QLabel] = {}
        side_by_side = make_row(spacing=24)
        for group in (DECIDE, MOVE, LOOK):
            rows = [
                f"<tr><td align='right'><b>{escape(chosen[name]) or '–'}</b></td>"
                f"<td>&nbsp;&nbsp;{escape(action.text)}</td></tr>"
                for name, action in ACTIONS.items()
                if action.group == group
            ]
            label = QLabel(f"<h3>{group}</h3><table cellspacing='3'>{''.join(rows)}</table>")
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            self.columns[group] = label
            side_by_side.addWidget(label)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        where = make_wrapped_label(FOOTNOTE)
        layout = QVBoxLayout(self)
        layout.addLayout(side_by_side)
        add_widgets(layout, where, buttons)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Close with the key that opened it."""
        if event is not None and QKeySequence(event.key()).toString() == self._close_with:
            self.accept()
            return
        super().keyPressEvent(event)
