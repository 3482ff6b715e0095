"""What a reader chose in napari's Preferences for this plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_memscan.study import Study

PLUGIN = "napari-memscan"

LAYOUTS = ("grid", "pair", "planes", "3D")
"""How volumes can be laid out; the first is the default."""


class Preferences:
    """The plugin's page in napari's Preferences; defaults where napari does not know the plugin.

    Their names, defaults and ranges are those of ``configurations`` in the manifest. Values are
    read when they are asked for, so that a change in the Preferences holds at once.
    """

    @property
    def reader(self) -> str:
        """Stored with every decision; empty for the name that one is logged in by."""
        return str(self._value("reading", "reader", "")).strip()

    @property
    def k(self) -> int:
        """Neighbours shown beside a synthetic volume at first."""
        return int(self._value("reading", "k", 3))

    @property
    def layout(self) -> str:
        """One of `LAYOUTS`, with which reading starts."""
        chosen = str(self._value("reading", "layout", LAYOUTS[0]))
        return chosen if chosen in LAYOUTS else LAYOUTS[0]

    @property
    def preload_mb(self) -> int | None:
        """Memory for volumes read ahead, in MB; None for a quarter of what is free."""
        return int(self._value("reading", "preload_mb", 0)) or None

    @property
    def auto_advance(self) -> bool:
        """Whether the next unread volume follows a decision."""
        return bool(self._value("reading", "auto_advance", True))

    @property
    def share_cases(self) -> bool:
        """Whether a case that another reader has open is shown all the same."""
        return bool(self._value("reading", "share_cases", False))

    @property
    def guidance(self) -> float:
        """Strength with which new volumes keep away from training volumes; 0 for not at all."""
        return float(self._value("reading", "guidance", 2.0))

    def sampling(self, study: Study) -> dict[str, Any]:
        """Return how networks are run, as `LDMGenerator.choose` takes it; empty for as usual."""
        if not self._value("reading", "less_memory", False):
            return {}
        generator = study.config.generator
        # The windows of a model that runs its own code are its own matter.
        own = generator is not None and generator.trust
        return {"batch": 1} if own else {"batch": 1, "decode": "window"}

    def key(self, action: str, default: str) -> str:
        """Return the key of an action, as Qt writes it; empty where it shall have none."""
        return str(self._value("keys", get_setting_name(action), default)).strip()

    def on_change(self, call: Callable[[], Any]) -> None:
        """Call a function without arguments whenever a preference was changed."""
        settings = _get_plugin_settings()
        for page in ("reading", "keys"):
            group = getattr(settings, page, None)
            if group is not None:
                group.events.connect(lambda _event=None: call())

    def _value(self, page: str, name: str, default: Any) -> Any:
        return getattr(getattr(_get_plugin_settings(), page, None), name, default)


def get_setting_name(action: str) -> str:
    """Return the name of the setting that holds an action's key."""
    return f"{action.replace(' ', '_')}_key"


def _get_plugin_settings() -> Any:
    from napari.settings import get_plugin_settings

    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:  # used as a widget without the plugin being installed
        return None
