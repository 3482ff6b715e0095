"""Networks and optimisers of one training, and what a step does to them."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from napari_memscan.training.errors import TrainingDiverged
from napari_memscan.training.memory_format import use_channels_last
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings, TrainingSettings
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_memscan.training.tasks import TrainingTask


class ModelTrainer:
    """What is trained, and how.

    All randomness of a step follows from seed and step, so that a training which goes on is the
    training that never stopped. With several processes each takes its share of a step's rows.

    Parameters
    ----------
    task : TrainingTask
    settings : TrainingSettings
    fabric : lightning.fabric.Fabric
        Launched.

    Attributes
    ----------
    parts : dict
        What has a state of its own, by the name it is saved under.
    """

    def __init__(self, task: TrainingTask, settings: TrainingSettings, fabric: Any) -> None:
        self.task, self.settings, self.fabric = task, settings, fabric
        use_channels_last(task.network)
        optimizer: Any = torch.optim.Adam(task.network.parameters(), lr=settings.learning_rate)
        self.rate = WarmupCosine(settings.steps, settings.anneal)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        self.module, self.optimizer = fabric.setup(_TaskLoss(task), optimizer)
        decay = settings.ema_decay if isinstance(settings, DenoiserSettings) else 0.0
        # Of the bare network: the wrappers around it change the names of the weights.
        self.average = AveragedModel(task.network, multi_avg_fn=_make_ema(decay)) if decay else None
        self.parts: dict[str, Any] = {
            "network": task.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        if self.average is not None:
            self.parts["average"] = self.average
        # Of float16, whose small gradients would else be 0: keeps them large.
        self.scaler: Any = getattr(fabric.strategy.precision, "scaler", None)
        if self.scaler is not None:
            self.parts["scaler"] = self.scaler
        self.discriminator: Any = None
        bare = task.discriminator
        if isinstance(settings, AutoencoderSettings) and bare is not None:
            opposing: Any = torch.optim.Adam(
                bare.parameters(), lr=settings.critic_rate, betas=(0.5, 0.9)
            )
            self.discriminator, self.discriminator_optimizer = fabric.setup(
                _DiscriminatorLoss(task, bare), opposing
            )
            self.parts |= {"critic": bare, "critic_optimizer": self.discriminator_optimizer}

    def reset_learning_rates(self) -> None:
        """Let the settings' learning rates count, where a state was read with others."""
        self.schedule.base_lrs = [self.settings.learning_rate]
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.rate(self.schedule.last_epoch)

    @property
    def trained(self) -> nn.Module:
        """The network that is saved and measured: the average where there is one."""
        network: nn.Module = self.task.network
        return self.average.module if self.average is not None else network

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to save."""
        return {key: value.contiguous() for key, value in self.trained.state_dict().items()}

    def step(self, step: int) -> tuple[float, float | None]:
        """Do optimiser step `step`, from 0 on; return its loss, and that of the discriminator.

        Raises
        ------
        Diverged
            Before any weight was changed by numbers that are not finite.
        """
        self.task.network.train()
        settings, fabric = self.settings, self.fabric
        self.task.step = step
        seed = settings.seed * 1_000_003 + step
        random = torch.Generator().manual_seed(seed)
        judged = self._is_adversarial(step)
        rows = torch.multinomial(
            self.task.weights,
            self._drawn,
            replacement=isinstance(settings, DenoiserSettings),
            generator=random,
        )
        pieces = rows.tensor_split(settings.accumulate * fabric.world_size)
        self.optimizer.zero_grad()
        if judged:
            self.discriminator_optimizer.zero_grad()
        total, opposed = 0.0, 0.0
        for turn in range(settings.accumulate):
            place = turn * fabric.world_size + fabric.global_rank
            own, more = pieces[place], turn + 1 < settings.accumulate
            if place:
                random = torch.Generator().manual_seed(seed + (place << 40))
            # Dropout draws from the global generator: tie it to the step as well.
            torch.manual_seed(seed + (place << 40))
            batch = fabric.to_device(self.task.data[Split.TRAINING][own])
            share = len(own) * fabric.world_size / len(rows)
            with fabric.no_backward_sync(self.module, enabled=more):
                loss = self.module(batch, random, judged)
                total += self._finite(loss, step) * share
                fabric.backward(loss if share == 1 else loss * share)
            if judged:
                with fabric.no_backward_sync(self.discriminator, enabled=more):
                    against = self.discriminator()
                    opposed += self._finite(against, step) * share
                    fabric.backward(against * share)
        self._clip(self.module, self.optimizer, step)
        if judged:
            self._clip(self.discriminator, self.discriminator_optimizer, step)
        self._change([self.discriminator_optimizer, self.optimizer] if judged else [self.optimizer])
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.task.network)
        return total, opposed if judged else None

    @property
    def _drawn(self) -> int:
        most = self.settings.batch * self.settings.accumulate
        return min(most, len(self.task.weights))

    def _is_adversarial(self, step: int) -> bool:
        settings = self.settings
        if self.discriminator is None or not isinstance(settings, AutoencoderSettings):
            return False
        return step >= settings.adversarial_start

    def _finite(self, loss: Tensor, step: int) -> float:
        value = loss.detach()
        if self.fabric.world_size > 1:  # All stop together, or those that go on would wait.
            value = self.fabric.all_reduce(value, reduce_op="mean")
        if not math.isfinite(float(value)):
            raise TrainingDiverged(f"the loss is {float(value)} at step {step + 1}")
        return float(value)

    def _clip(self, module: Any, optimizer: Any, step: int) -> None:
        norm = self.fabric.clip_gradients(
            module, optimizer, max_norm=self.settings.clip, error_if_nonfinite=False
        )
        # The scaler leaves such a step out, and makes gradients smaller, as far as it can.
        scaled = self.scaler is not None and self.scaler.get_scale() > 1
        if not scaled and not math.isfinite(float(norm)):
            raise TrainingDiverged(f"the gradients are not finite at step {step + 1}")

    def _change(self, optimizers: list[Any]) -> None:
        if self.scaler is None:
            for optimizer in optimizers:
                optimizer.step()
            return
        for optimizer in optimizers:  # Not Fabric's step: the scale may change after both only.
            self.scaler.step(optimizer.optimizer)
        self.scaler.update()

    def mean_loss(self, split: str) -> float:
        """Return the mean loss over as many volumes as validation has, with the same noise.

        No process waits for another one here.
        """
        task, settings = self.task, self.settings
        random = torch.Generator().manual_seed(settings.seed)
        # Of training evenly over the table: the first ones may be those that are drawn more often.
        n, most = len(task.data[split]), len(task.data[Split.VALIDATION])
        rows = torch.arange(0, n, max(1, n // most))[:most]
        size = max(settings.batch, 2)
        losses = []
        with self.evaluation_mode() as network:
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                batch = self.fabric.to_device(task.data[split][some])
                losses.append((float(task.loss(network, batch, random)), len(some)))
        return sum(a * n for a, n in losses) / sum(n for _, n in losses)

    @contextmanager
    def evaluation_mode(self) -> Iterator[nn.Module]:
        """Give the network that is saved, for measuring only."""
        network = self.trained
        network.eval()
        try:
            with torch.no_grad():
                yield network
        finally:
            self.task.network.train()


class _TaskLoss(nn.Module):
    """Network and loss as one module, so that Lightning wraps the whole of a step's forward."""

    def __init__(self, task: TrainingTask) -> None:
        super().__init__()
        self.network = task.network
        self.task = task

    def forward(self, batch: Any, random: torch.Generator, judged: bool) -> Tensor:
        loss = self.task.loss(self.network, batch, random)
        return loss + self.task.generator_loss() if judged else loss


class _DiscriminatorLoss(nn.Module):
    def __init__(self, task: TrainingTask, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.task = task

    def forward(self) -> Tensor:
        return self.task.discriminator_loss(self.discriminator)


class WarmupCosine:
    """Learning rate over its peak: linear for a twentieth of all steps, then a cosine to zero."""

    def __init__(self, steps: int, anneal: bool = True) -> None:
        self.steps, self.anneal = steps, anneal
        self.warm = max(1, steps // 20)

    def __call__(self, step: int) -> float:
        """Return the share of the peak before step `step`, from 0 on."""
        decay = 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1)))
        return min(1, (step + 1) / self.warm) * (decay if self.anneal else 1)


def _make_ema(decay: float) -> Any:
    from torch.optim import swa_utils

    return swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
