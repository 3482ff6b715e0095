"""A Lightning callback that watches for memorisation, for models that are trained elsewhere.

Not imported with the other jobs, since Lightning takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch import Callback

from napari_memscan.detection.training_gauge import Embed, MemorisationMonitor
from napari_memscan.errors import BadInput
from napari_memscan.jobs.training.monitor import MonitorRecord, write_log

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from napari_memscan.volumes.volume import VolumeSequence


class MemorisationCallback(Callback):
    """Samples a few volumes now and then, compares them with training, logs, and may end the fit.

    Weights do not depend on it: all global random numbers are given back, and so is the mode of
    every part of the model. With several processes the first one samples, all others wait.

    Parameters
    ----------
    sample : callable
        Takes the module, in evaluation mode and without gradients, and returns volumes
        (N, X, Y, Z), an array, list or tensor, preprocessed as the training volumes are. Random
        numbers are seeded first: each look draws from the same noise.
    training, validation : sequences of arrays (X, Y, Z)
        What the model learns, and what it has not seen.
    every : int
        Epochs or steps between two looks; see `unit`.
    unit : {"epochs", "steps"}
        What `every` counts. Steps are those of the optimiser.
    limit : float, optional
        Largest share of copies that is accepted; the fit ends above it, unless `stop` is False.
    stop : bool
        Whether the fit ends above `limit`.
    folder : path, optional
        ``memorisation.csv`` is written there and, where there is a limit, ``best.ckpt``: the last
        checkpoint that was not above it. Default: the trainer's ``default_root_dir``.
    embed : callable, optional
        Maps volumes (N, 1, X, Y, Z) to vectors; see `detection.training_gauge.MemorisationMonitor`.
    losses : (str, str)
        Names under which the module logs training and validation loss; without them there is no
        gap.
    seed : int
        Of the samples.

    Attributes
    ----------
    rows : list of MonitorRecord
        Looks so far; kept in checkpoints.

    Examples
    --------
    >>> callback = MemorisationCallback(
    ...     lambda module: module.sample(8), training, validation, every=5, limit=0.2
    ... )  # doctest: +SKIP
    >>> Trainer(callbacks=[callback]).fit(module, data)  # doctest: +SKIP
    """

    def __init__(
        self,
        sample: Callable[[Any], Any],
        training: VolumeSequence,
        validation: VolumeSequence,
        *,
        every: int = 1,
        unit: Literal["epochs", "steps"] = "epochs",
        limit: float | None = None,
        stop: bool = True,
        folder: str | Path | None = None,
        embed: Embed | None = None,
        losses: tuple[str, str] = ("train_loss", "val_loss"),
        seed: int = 0,
    ) -> None:
        if every < 1 or unit not in ("epochs", "steps"):
            raise BadInput(f"every {every} {unit}: at least 1, of epochs or steps, is expected.")
        if limit is not None and not 0 <= limit < 1:
            raise BadInput(f"limit {limit}: a share from 0 to below 1 is expected.")
        self.sample, self.every, self.unit = sample, every, unit
        self.limit, self.stop, self.folder = limit, stop, folder
        self.losses, self.seed = losses, seed
        self.gauge = MemorisationMonitor(embed).fit(training, validation)
        self.rows: list[MonitorRecord] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, where steps are counted."""
        step = trainer.global_step
        # With accumulated gradients several batches are one step.
        looked = bool(self.rows) and self.rows[-1].step == step
        if self.unit == "steps" and step and step % self.every == 0 and not looked:
            self._look(trainer, pl_module, step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, where epochs are counted."""
        epoch = trainer.current_epoch + 1
        if self.unit == "epochs" and epoch % self.every == 0:
            self._look(trainer, pl_module, epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the looks so far."""
        return {"rows": [asdict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the looks of a checkpoint."""
        self.rows = [MonitorRecord(**values) for values in state_dict["rows"]]

    def _look(self, trainer: Trainer, module: LightningModule, at: int) -> None:
        row = self._row(trainer, module, at) if trainer.is_global_zero else None
        row = trainer.strategy.broadcast(row)
        self.rows = [*(r for r in self.rows if r.step < at), row]
        folder = Path(self.folder if self.folder is not None else trainer.default_root_dir)
        values = row.shown()
        trainer.callback_metrics.update(values)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if trainer.is_global_zero:
            write_log(folder / "memorisation.csv", self.rows)
        if self.limit is None:
            return
        if row.share <= self.limit:
            trainer.save_checkpoint(folder / "best.ckpt")
        elif self.stop:
            trainer.should_stop = True

    def _row(self, trainer: Trainer, module: LightningModule, at: int) -> MonitorRecord:
        import torch
        from lightning.pytorch.utilities.seed import isolate_rng

        modes = [(part, part.training) for part in module.modules()]
        try:
            with isolate_rng(), torch.no_grad():
                torch.manual_seed(self.seed)
                module.eval()
                volumes = self.sample(module)
                if isinstance(volumes, torch.Tensor):
                    volumes = volumes.float().cpu().numpy()
                reading = self.gauge.measure(volumes)
        finally:
            for part, training in modes:
                part.training = training
        seen, unseen = (trainer.callback_metrics.get(name) for name in self.losses)
        return MonitorRecord.of(
            at,
            reading,
            self.gauge,
            (None if seen is None else float(seen), None if unseen is None else float(unseen)),
        )
