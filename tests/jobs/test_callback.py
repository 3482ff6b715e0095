"""The Lightning callback sees copies, ends a fit, keeps what was good, and disturbs nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from napari_memscan.errors import BadInput
from napari_memscan.jobs.callback import MemorisationCallback
from napari_memscan.jobs.training.monitor import read_log

SHAPE = (6, 6, 6)


def volumes(n, seed):
    return np.random.default_rng(seed).random((n, *SHAPE)).astype(np.float32)


TRAINING, VALIDATION = volumes(10, 0), volumes(40, 1)


class Tiny(LightningModule):
    """Learns nothing worth sampling, with dropout, so that random numbers count."""

    def __init__(self, copies_from=99):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.frozen = nn.Dropout(0.5).eval()  # As a pretrained part is.
        self.copies_from = copies_from
        self.modes = []

    def training_step(self, batch, _):
        self.modes.append((self.net.training, self.frozen.training))
        loss = ((self.net(batch[0]) - batch[0].mean(1, keepdim=True)) ** 2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", (self.net(batch[0]) ** 2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def sample(self):
        assert not self.training
        assert not torch.is_grad_enabled()
        noise = torch.rand((4, *SHAPE))
        if self.global_step >= self.copies_from:
            return torch.from_numpy(TRAINING[:4]) + 0.02 * noise
        return noise


def fit(folder, *callbacks, module=None, **options):
    torch.manual_seed(0)
    module = module or Tiny()
    data = DataLoader(TensorDataset(torch.rand(8, 4)), batch_size=4)  # 2 steps an epoch
    trainer = Trainer(
        **{"max_epochs": 4} | options,
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, data, data)
    return trainer, module


def watching(**options):
    return MemorisationCallback(lambda module: module.sample(), TRAINING, VALIDATION, **options)


def test_weights_and_modes_do_not_depend_on_being_watched(tmp_path):
    _, alone = fit(tmp_path)
    _, watched = fit(tmp_path, watching(every=1, unit="steps"))
    for a, b in zip(alone.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert watched.modes == alone.modes


def test_a_fit_that_copies_is_ended_and_the_last_good_checkpoint_kept(tmp_path):
    callback = watching(limit=0.5)
    trainer, _ = fit(tmp_path, callback, module=Tiny(copies_from=4))
    assert trainer.current_epoch == 2
    rows = read_log(tmp_path / "memorisation.csv")
    assert rows == callback.rows
    assert [(row.step, row.n_copies, row.n) for row in rows] == [(1, 0, 4), (2, 4, 4)]
    assert rows[1].median_ratio < 0.5 < rows[0].median_ratio
    assert rows[0].gap is not None
    kept = torch.load(tmp_path / "best.ckpt", weights_only=False)
    assert kept["global_step"] == 2


def test_without_stop_the_fit_goes_on_and_every_counts(tmp_path):
    callback = watching(every=3, unit="steps", limit=0.5, stop=False, folder=tmp_path / "log")
    trainer, _ = fit(tmp_path, callback, module=Tiny(copies_from=4))
    assert trainer.current_epoch == 4
    assert [(row.step, row.share) for row in callback.rows] == [(3, 0.0), (6, 1.0)]
    assert (tmp_path / "log" / "memorisation.csv").exists()
    assert "memorisation/n_copies" in trainer.callback_metrics


def test_a_fit_that_goes_on_keeps_its_looks(tmp_path):
    first = watching(limit=0.5)
    fit(tmp_path, first, max_epochs=2)
    again = watching(limit=0.5)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[again],
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.rand(8, 4)), batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Tiny(), data, data, ckpt_path=tmp_path / "best.ckpt", weights_only=False)
    assert [row.step for row in again.rows] == [1, 2, 3, 4]


def test_bad_settings_are_named():
    with pytest.raises(BadInput, match="at least 1"):
        watching(every=0)
    with pytest.raises(BadInput, match="below 1"):
        watching(limit=1)
