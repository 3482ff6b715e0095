"""The training loop: progress at every step, stoppable, and going on where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_memscan.checkpoints.native_format import save_checkpoint
from napari_memscan.errors import BadInput
from napari_memscan.training.callbacks import CallbackContext, TrainingCallback
from napari_memscan.training.conditions import Conditions
from napari_memscan.training.errors import (
    TrainingDiverged,
    explain_divergence,
    explain_out_of_memory,
)
from napari_memscan.training.logs import PICTURES, TrainingLog, save_slice_figure
from napari_memscan.training.progress import TrainingProgress
from napari_memscan.training.resources import StepTimer
from napari_memscan.training.settings import TrainingSettings
from napari_memscan.training.setup import compute_fingerprints
from napari_memscan.training.state import restore_state, save_state
from napari_memscan.training.trainer import ModelTrainer
from napari_memscan.typing import Split, SplitArrays
from napari_memscan.volumes.preprocessing import Preprocessing

N_PICTURED = 4
"""Volumes in a picture."""


class TrainingLoop:
    """One training from its saved state to its end."""

    def __init__(
        self,
        part: str,
        arrays: SplitArrays,
        out: Path,
        settings: TrainingSettings,
        fitting: ModelTrainer,
        preprocessing: Preprocessing,
        conditions: Conditions | None = None,
    ) -> None:
        self.part, self.out, self.settings, self.trainer = part, out, settings, fitting
        self.sizes = {
            f"n_{split}": len(arrays[split]) for split in (Split.TRAINING, Split.VALIDATION)
        }
        self.first = fitting.fabric.is_global_zero
        name, relaxed = compute_fingerprints(part, arrays, settings, preprocessing, conditions)
        self.state: dict[str, Any] = {
            "step": 0,
            "seconds": 0.0,
            "validation": [],
            "fingerprint": name,
            "relaxed": relaxed,
            "total": settings.steps,
            "rates": [],
            "best": None,
            "ended": False,
        }
        restore_state(out, self.state, fitting.parts)
        fitting.reset_learning_rates()
        self.saved = self.state["step"]
        self._check_shared()
        rates, rate = self.state["rates"], settings.learning_rate
        if not rates or rates[-1][1] != rate:
            self.state["rates"] = [*rates, [self.state["step"], rate]]
        self.started = time.monotonic() - self.state["seconds"]
        self.pace = StepTimer(settings.steps - self.state["step"], fitting.fabric.device)
        self.log = TrainingLog(out, self.state["step"], settings.log_every) if self.first else None

    def _check_shared(self) -> None:
        fabric, step = self.trainer.fabric, self.state["step"]
        if fabric.world_size > 1 and fabric.broadcast(step) != step:
            raise BadInput(
                f"{self.out}: another process does not see the state saved there. All hosts need "
                "the same folder; put it on a disk that they share."
            )

    def close(self) -> None:
        """Write what is still held back."""
        if self.log is not None:
            self.log.close()

    def steps(self, watch: TrainingCallback | None) -> Generator[Any, None, bool]:
        """Do all steps that are left; see `train`."""
        state, settings, fitting = self.state, self.settings, self.trainer
        try:
            while True:
                step = state["step"]
                last = step == settings.steps or state["ended"]
                due = watch is not None and step and (last or step % watch.every == 0)
                if watch is not None and due and (yield from self._call_callback(watch, step)):
                    self.keep()
                    return False
                if last:
                    break
                self.pace.begin()
                with self._explained(step):
                    loss, critic = fitting.step(step)
                note = self.pace.end()
                state["step"] = step = step + 1
                validation = None
                if step == settings.steps or step % settings.validate_every == 0:
                    with self._explained(step - 1):
                        validation = self._mean_loss(Split.VALIDATION)
                    note = self._judge(validation) or note
                last = step == settings.steps or state["ended"]
                self._write(step, loss, validation, critic)
                if last or step % settings.save_every == 0:
                    self.keep()
                yield TrainingProgress(step, settings.steps, loss, validation, note)
        except GeneratorExit:
            self.keep()
            raise
        self.save(self.out)
        return True

    def _call_callback(self, watch: TrainingCallback, step: int) -> Generator[Any, None, bool]:
        """Let the first process look, while all others wait; return whether all shall stop."""
        fabric, stop = self.trainer.fabric, False
        if self.log is not None:
            name, total = self.state["fingerprint"], self.settings.steps
            moment = CallbackContext(step, total, name, self.save, self.losses, self.log.show)
            less = f"The same command without --monitor {self._kept()}."
            with self._explained(step, f"in a look at step {step}", less):
                stop = yield from watch(moment)
        return bool(fabric.broadcast(stop)) if fabric.world_size > 1 else stop

    def _mean_loss(self, split: str) -> float:
        """Return a loss that all processes agree on, or those that go on would wait."""
        fabric, loss = self.trainer.fabric, self.trainer.mean_loss(split)
        return _require_finite(fabric.broadcast(loss) if fabric.world_size > 1 else loss, split)

    def _judge(self, validation: float) -> str:
        """Note a validation loss; end the training where it has not fallen for too long."""
        state, patience = self.state, self.settings.patience
        state["validation"].append((state["step"], round(validation, 6)))
        if not patience:
            return ""
        best = state["best"]
        if best is None or validation < best["loss"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.trainer.weights().items()}
            state["best"] = {"step": state["step"], "loss": validation, "weights": weights}
            return ""
        since = sum(1 for step, _ in state["validation"] if step > best["step"])
        if since < patience:
            return ""
        state["ended"] = True
        return (
            f"ends at step {state['step']}: the validation loss was lowest at step "
            f"{best['step']}, whose weights are kept"
        )

    def _write(
        self, step: int, loss: float, validation: float | None, critic: float | None
    ) -> None:
        if self.log is None:
            return
        rate = float(self.trainer.schedule.get_last_lr()[0])
        self.log(step, loss, validation, critic, rate, time.monotonic() - self.started)
        every, task = self.settings.pictures_every, self.trainer.task
        if every and step % every == 0:
            with self._explained(step - 1), self.trainer.evaluation_mode() as network:
                shown = task.pictures(network, N_PICTURED)
            if not shown:
                return
            path = self.out / PICTURES / f"step-{step:07d}.png"
            save_slice_figure(path, shown, f"{self.part}, step {step} of {self.settings.steps}")

    def keep(self) -> None:
        """Save the state from which the training goes on."""
        self.state["seconds"] = time.monotonic() - self.started
        if self.first:
            save_state(self.out, self.state, self.trainer.parts)
        self.saved = self.state["step"]

    def save(self, folder: Path) -> None:
        """Write the present weights as a checkpoint; at the end of `patience` the best ones."""
        import torch

        if not self.first:
            return
        state, weights = self.state, self.trainer.weights()
        provenance: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json"),
            **self.sizes,
            "data": state["fingerprint"],
            "validation": [list(pair) for pair in state["validation"][-20:]],
            "torch": torch.__version__,
        }
        if state["step"] < self.settings.steps:
            provenance["step"] = state["step"]
        if len(state["rates"]) > 1:
            provenance["learning_rates"] = state["rates"]
        finished = state["ended"] or state["step"] == self.settings.steps
        if state["best"] is not None and finished:
            weights, provenance["step"] = state["best"]["weights"], state["best"]["step"]
        save_checkpoint(folder, *self.trainer.task.result(weights, provenance))

    def losses(self) -> tuple[float, float]:
        """Return the losses over training and validation volumes."""
        seen, unseen = (
            self.trainer.mean_loss(split) for split in (Split.TRAINING, Split.VALIDATION)
        )
        return _require_finite(seen, "training"), _require_finite(unseen, "validation")

    def _kept(self) -> str:
        return f"goes on from step {self.saved}" if self.saved else "starts again"

    @contextmanager
    def _explained(self, step: int, when: str = "", advice: str = "") -> Iterator[None]:
        """Say what can go wrong while networks run, and from where the training can go on."""
        settings, kept = self.settings, self._kept()
        smaller = max(settings.batch // 2, 1)
        place = f"{self.out}: {self.trainer.fabric.device}"
        when = when or f"at step {step + 1} with batch {settings.batch}"
        advice = advice or (
            f"With batch={smaller} and accumulate={settings.accumulate * 2} it {kept}."
        )
        subject = f"{self.out}: the training of the {self.part}"
        with (
            explain_divergence(subject, settings.learning_rate, kept),
            explain_out_of_memory(place, when, advice),
        ):
            yield


def _require_finite(loss: float, split: str) -> float:
    if not math.isfinite(loss):
        raise TrainingDiverged(f"the loss over {split} volumes is {loss}")
    return loss
