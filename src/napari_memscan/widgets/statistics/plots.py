"""Plots that nobody has to operate, in the colours of the theme."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy

from napari_memscan.widgets.common.message import WrappedLabel
from napari_memscan.widgets.common.theme import ThemeColours

SIDES = ("bottom", "left")


def make_plain_plot(view_box: Any = None) -> Any:
    """Return a plot without menus and buttons, that neither zooms nor moves by accident."""
    plot = pg.PlotWidget(viewBox=view_box)
    plot.setMouseEnabled(x=False, y=False)
    plot.setMenuEnabled(False)
    plot.hideButtons()
    for side in SIDES:
        # 0.9, not 900 thousandths. Once, while there is no label: each call scales anew.
        plot.getAxis(side).enableAutoSIPrefix(False)
    # pyqtgraph puts the label of an axis a little below it: its descenders were cut.
    plot.getPlotItem().layout.setContentsMargins(0, 4, 4, 8)
    # pyqtgraph asks for 640 x 480 by itself: more than a dock has.
    plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
    plot.setMinimumHeight(150)
    return plot


def apply_theme(plot: Any, look: ThemeColours) -> None:
    """Give a plot the colours of the theme."""
    plot.setBackground(look.background)
    for side in SIDES:
        axis = plot.getAxis(side)
        axis.setPen(look.text)
        axis.setTextPen(look.text)


def blend_colour(look: ThemeColours, share: float) -> str:
    """Return a colour between background (0) and text (1)."""
    pair = [pg.mkColor(c).getRgb()[:3] for c in (look.background, look.text)]
    mixed = [round(b + share * (t - b)) for b, t in zip(*pair, strict=True)]
    return pg.mkColor(mixed).name()


def make_rich_label(name: str) -> WrappedLabel:
    """Return a label that wraps, takes rich text, and whose text can be selected and copied."""
    result = WrappedLabel()
    result.setAccessibleName(name)
    result.setTextFormat(Qt.TextFormat.RichText)
    result.setWordWrap(True)
    result.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return result


def format_legend(marks: Iterable[tuple[str, str, str]]) -> str:
    """Return rich text of marks, their colours and words; a mark and its words keep together."""
    return " &nbsp; ".join(
        f'<span style="color:{colour}">{mark}</span>&nbsp;{_keep_together(text)}'
        for mark, colour, text in marks
    )


def _keep_together(text: str) -> str:
    return text.replace(" ", "&nbsp;").replace("-", "&#8209;")
