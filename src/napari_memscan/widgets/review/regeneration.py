"""Replaces copies by new volumes, in the background, and says how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_memscan import jobs
from napari_memscan.generators.sample import DenoisingStep
from napari_memscan.study import Study
from napari_memscan.typing import Decision
from napari_memscan.widgets.common.preferences import Preferences
from napari_memscan.widgets.common.runner import JobOutcome, JobRunner
from napari_memscan.widgets.review.actions import Action, ReviewAction
from napari_memscan.widgets.review.view import ReviewView
from napari_memscan.widgets.study.trust_dialog import REFUSED, SessionTrust

if TYPE_CHECKING:
    from napari_memscan.jobs.replacement.regenerate import Replacement
    from napari_memscan.review.queue import QueueItem


class RegenerationController(QObject):
    """Runs one regeneration at a time, beside the reading.

    Parameters
    ----------
    view : ReviewView
        Says how far it is.
    trust : SessionTrust
        Asks before a study's own code runs.
    preferences : Preferences
        Say how strongly new volumes keep away from training volumes, and how networks are run.

    Attributes
    ----------
    running : Signal(bool)
        One began or ended.
    done : Signal(str, str, object)
        What is to be said, its level, and sample to its replacement.
    """

    running = Signal(bool)
    done = Signal(str, str, object)

    def __init__(
        self,
        view: ReviewView,
        parent: QObject | None,
        trust: SessionTrust,
        preferences: Preferences,
    ) -> None:
        super().__init__(parent)
        self._view, self._trust, self._preferences = view, trust, preferences
        self._study: Study | None = None
        self._of: Study | None = None
        self._samples: list[str] = []
        self._runner = JobRunner(self)
        self._runner.progressed.connect(self._on_progress)
        self._runner.finished.connect(self._on_finished)
        view.decision.stop_requested.connect(self._runner.stop)

    @property
    def busy(self) -> bool:
        """Whether one runs."""
        return self._runner.busy

    def set_study(self, study: Study | None) -> None:
        """Work on this study from now on; one that runs on another is stopped."""
        if study is not self._study:
            self._runner.stop()
            self._view.decision.set_regenerating("")
        self._study = study

    def find_unavailable(
        self, study: Study | None, item: QueueItem | None, items: Mapping[str, QueueItem]
    ) -> set[Action]:
        """Return what cannot be done now: to replace this volume, all that are flagged, or both."""
        config = study.config.generator if study is not None else None
        if self.busy or config is None or config.external:
            return {ReviewAction.REGENERATE, ReviewAction.REGENERATE_FLAGGED}
        names: set[Action] = set()
        if item is None or item.replaced_by:
            names.add(ReviewAction.REGENERATE)
        if not list_flagged_samples(items):
            names.add(ReviewAction.REGENERATE_FLAGGED)
        return names

    def start(
        self, current: QueueItem | None, items: Mapping[str, QueueItem], every: bool = False
    ) -> None:
        """Replace the present volume, or every one that a reader called a copy."""
        study = self._study
        if study is None:
            return
        if self.busy:
            self._view.message.say(f"{self._named} is being regenerated; wait.", "info")
            return
        wanted = ReviewAction.REGENERATE_FLAGGED if every else ReviewAction.REGENERATE
        if wanted in self.find_unavailable(study, current, items):
            return
        if not self._trust.allows_study(study, self._view):
            self._view.message.say(REFUSED, "warning")
            return
        assert current is not None or every
        self._samples = list_flagged_samples(items) if every else [current.sample]  # type: ignore[union-attr]
        self._of = study
        self._view.message.say("")
        settings = self._preferences.sampling(study)
        guidance = self._preferences.guidance
        self._runner.start(
            partial(
                jobs.regenerate_samples,
                study,
                self._samples,
                guidance=guidance,
                must_guide=False,
                **settings,
            )
        )
        self._view.decision.set_regenerating(f"{self._named}: starting")
        self.running.emit(True)

    @property
    def _named(self) -> str:
        n = len(self._samples)
        return self._samples[0] if n == 1 else f"{n} volumes"

    def _on_progress(self, news: Any) -> None:
        if self._of is not self._study:
            return
        if isinstance(news, DenoisingStep):
            self._view.decision.set_regenerating("step %v of %m", news.step, news.total)
        elif isinstance(news, jobs.Progress):
            self._view.decision.set_regenerating("scan %v of %m", news.done, news.total)

    def _on_finished(self, outcome: JobOutcome) -> None:
        self.running.emit(False)
        if self._of is not self._study or self._study is None:
            return
        self._view.decision.set_regenerating("")
        if outcome.failure:
            self.done.emit(outcome.failure, "error", {})
        elif outcome.stopped:
            self.done.emit(
                "Regeneration stopped. Nothing is lost; it goes on from there.", "warning", {}
            )
        else:
            made: Sequence[Replacement] = outcome.value
            text, level = describe_replacements(made)
            self.done.emit(text, level, {one.rejected: one.sample for one in made})


def list_flagged_samples(items: Mapping[str, QueueItem]) -> list[str]:
    """Return the samples that a reader called a copy and that nothing replaces yet."""
    return [
        name
        for name, item in items.items()
        if item.replaced_by is None and any(d.decision == Decision.COPY for d in item.decisions)
    ]


def describe_replacements(made: Sequence[Replacement]) -> tuple[str, str]:
    """Return what a regeneration came to, and its level."""
    text, level = _summarise_replacements(made)
    why = next((one.unguided for one in made if one.unguided), "")
    return (f"{text} Without guidance: {why}", "warning") if why else (text, level)


def _summarise_replacements(made: Sequence[Replacement]) -> tuple[str, str]:
    if len(made) == 1:
        (one,) = made
        n, last = len(one.attempts), one.attempts[-1]
        tries = "1 try" if n == 1 else f"{n} tries"
        if one.gave_up:
            return (
                f"Gave up on {one.rejected} after {tries}: {last.sample} is called {last.verdict}, "
                "too. Leave it out, or train with more data or augmentation.",
                "warning",
            )
        return (
            f"{one.sample} replaces {one.rejected} after {tries}: {last.verdict}, "
            f"{last.value:.3f}. {one.rejected} is kept.",
            "ok",
        )
    up = [one for one in made if one.gave_up]
    text = f"{len(made) - len(up)} of {len(made)} volumes replaced."
    if up:
        names = ", ".join(one.rejected for one in up[:3]) + (" …" if len(up) > 3 else "")
        text += f" Gave up on {names}: what replaces them is called a copy, too."
    return text, "warning" if up else "ok"
