"""Colours of napari's theme for the few things that style sheets do not reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ThemeColours:
    """Colours, each as ``#rrggbb``.

    Attributes
    ----------
    background, foreground, text, accent, error, warning : str
        As napari's theme calls them; `accent` is its `current`.
    quiet : str
        For what stands behind: between background and text.
    dark : bool
        The theme is a dark one.
    """

    background: str = "#23242b"
    foreground: str = "#2e333e"
    text: str = "#f0f1f2"
    accent: str = "#4560c4"
    quiet: str = "#565f6c"
    error: str = "#99121f"
    warning: str = "#e3b617"
    dark: bool = True

    @property
    def alarm(self) -> str:
        """A red that is seen on `background` (at least 3:1, WCAG 2.2 criterion 1.4.11)."""
        return "#ff6b6b" if self.dark else "#b00020"


def get_theme_colours(theme_id: str) -> ThemeColours:
    """Return the colours of a napari theme."""
    from napari.utils.theme import get_theme

    theme = get_theme(theme_id)

    def colour(name: str) -> str:
        red, green, blue = getattr(theme, name).as_rgb_tuple()[:3]
        return f"#{red:02x}{green:02x}{blue:02x}"

    return ThemeColours(
        background=colour("background"),
        foreground=colour("foreground"),
        text=colour("text"),
        accent=colour("current"),
        quiet=colour("secondary"),
        error=colour("error"),
        warning=colour("warning"),
        dark=theme.type == "dark",
    )
