"""One line that says what happened, and stays until the next thing happens."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QAction, QGuiApplication, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_memscan.widgets.common.theme import ThemeColours

SYMBOLS = {"ok": "✔", "info": "ℹ", "warning": "⚠", "missing": "?", "error": "✖"}


class Message(QFrame):
    """A symbol and a text, copied from its context menu; hidden while there is nothing to say.

    A failure is a red frame and a symbol, its text in the ordinary colour: readable in both
    themes, and not told by colour alone. Where there is more to read, a click, Return or Space
    shows it, and takes it away again.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("memscanMessage")
        self._look = ThemeColours()
        self.level = ""
        self.text = ""
        self._short, self._more, self._opened = "", "", False
        self._symbol = QLabel(objectName="symbol")
        self._text = WrappedLabel(objectName="text")
        self._text.setWordWrap(True)
        self._text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        # Long paths have no blanks to break at; they must not widen the dock.
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self._text.setSizePolicy(policy)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 3, 6, 3)
        layout.addWidget(self._symbol, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._text, 1)
        copy = QAction("Copy", self)
        copy.triggered.connect(lambda: QGuiApplication.clipboard().setText(self.text))
        self.addAction(copy)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self.hide()

    def say(self, text: str, level: str = "info", more: str = "") -> None:
        """Show `text` at a level of `SYMBOLS`; an empty text hides it.

        `more` is read on hovering or when it is opened, and copied too.
        """
        self.level = level if text else ""
        self.text = f"{text}\n{more}" if more else text
        self._symbol.setText(SYMBOLS[level])
        self._short, self._more, self._opened = text, more, False
        self._write()
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus if more else Qt.FocusPolicy.NoFocus)
        self.setToolTip(more or text)
        self.setAccessibleName(f"{level}: {self.text}" if text else "")
        self._paint()
        self.setVisible(bool(text))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Show all there is to read, or less again."""
        keys = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
        if event is not None and event.key() in keys and self._more:
            self._toggle()
        else:
            super().keyPressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Show all there is to read, or less again."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self._more:
            self._toggle()
        else:
            super().mouseReleaseEvent(event)

    def _toggle(self) -> None:
        self._opened = not self._opened
        self._write()

    def _write(self) -> None:
        text = self._short
        if self._opened:
            # Some say more by saying all of it.
            begun = self._more.startswith(text.rstrip("."))
            text = self._more if begun else f"{text}\n\n{self._more}"
        mark = (" ▾" if self._opened else " ▸") if self._more else ""
        self._text.setText(insert_break_points(text) + mark)

    def set_theme(self, look: ThemeColours) -> None:
        """Follow the theme."""
        self._look = look
        self._paint()

    def _paint(self) -> None:
        edges = {"error": self._look.alarm, "warning": self._look.warning}
        edge = (edges | {"missing": self._look.warning}).get(self.level, "")
        width = 2 if self.level == "error" else 1
        frame = f"border: {width}px solid {edge}; border-radius: 3px;" if edge else "border: none;"
        focus = f"#memscanMessage:focus {{ border: 2px solid {self._look.text}; }}"
        self.setStyleSheet(f"#memscanMessage {{ {frame} }} {focus}")
        self._symbol.setStyleSheet(f"color: {self._look.alarm};" if self.level == "error" else "")


class WrappedLabel(QLabel):
    """A label that is as high as its text at its width, and not as at a guessed narrower one."""

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Ask for a line at least."""
        return QSize(0, self.fontMetrics().height())


def insert_break_points(text: str) -> str:
    """Let long paths break after a separator: a zero-width space follows each."""
    return text.replace("/", "/\u200b").replace("\\", "\\\u200b").replace("_", "_\u200b")
