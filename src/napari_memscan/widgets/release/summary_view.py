"""What would be released now, and what stops it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_memscan.jobs import ReleasePreview
from napari_memscan.widgets.common.box_layouts import add_widgets, make_column, make_row
from napari_memscan.widgets.common.message import Message
from napari_memscan.widgets.common.theme import ThemeColours
from napari_memscan.widgets.release import text as words


class SummaryView(QWidget):
    """How many volumes pass, are rejected, are unread; warnings; and why nothing is possible.

    Attributes
    ----------
    unread_requested : Signal()
        Those that must be read are to be seen.
    """

    unread_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.passing, self.rejected, self.unread = Message(), Message(), Message()
        self.warnings, self.stopped = Message(), Message()
        self.unread_button = QPushButton("Show unread")
        self.unread_button.setToolTip("Goes to step 3 and lists the volumes that must be read")
        self.unread_button.clicked.connect(self.unread_requested)
        to_read = make_row(spacing=4)
        to_read.addWidget(self.unread, 1)
        to_read.addWidget(self.unread_button, 0, Qt.AlignmentFlag.AlignTop)
        layout = make_column(self, spacing=3)
        layout.addWidget(self.stopped)
        layout.addLayout(to_read)
        add_widgets(layout, self.passing, self.rejected, self.warnings)
        self.clear()

    def clear(self) -> None:
        """Say that it is being found out."""
        self._say(passing="Counting …")

    def show_preview(self, preview: ReleasePreview, stopped: str) -> None:
        """Show what a release would hold, and `stopped`: what else than reading stops it."""
        self._say(
            words.format_unread(preview),
            words.format_passed(preview),
            words.format_rejected(preview),
            words.format_warnings(preview),
            stopped,
            "ok" if preview.passed else "warning",
        )

    def show_failure(self, text: str) -> None:
        """Say why nothing can be said."""
        self._say(stopped=text)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        for message in (self.passing, self.rejected, self.unread, self.warnings, self.stopped):
            message.set_theme(look)

    def _say(
        self,
        unread: str = "",
        passing: str = "",
        rejected: str = "",
        warnings: str = "",
        stopped: str = "",
        level: str = "info",
    ) -> None:
        self.unread.say(unread, "missing")
        self.unread_button.setVisible(bool(unread))
        self.passing.say(passing, level)
        self.rejected.say(rejected, "info")
        self.warnings.say(warnings, "warning")
        self.stopped.say(stopped, "error")
