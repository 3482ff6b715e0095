"""What an experiment varies, and the runs that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.files import parse_json, write_json
from napari_memscan.jobs.experiment.factors import (
    DEFAULT_FACTORS,
    DEFAULT_VIEWS,
    FACTORS,
    FactorValue,
)
from napari_memscan.study import Study
from napari_memscan.training.settings import AutoencoderSettings, DenoiserSettings
from napari_memscan.typing import Split

PLAN_FILE = "experiment.json"
"""In the experiment's folder: what is varied, and around what."""


@dataclass(frozen=True)
class ExperimentRun:
    """One training, and the volumes that are sampled of it.

    Attributes
    ----------
    number : int
        From 1.
    name : str
        Of its folder: what is not as in the base run.
    values : dict of str to str, int or float
        Of every factor.
    """

    number: int
    name: str
    values: Mapping[str, FactorValue]


@dataclass(frozen=True)
class ExperimentPlan:
    """What is varied, around what.

    Attributes
    ----------
    factors : dict of str to tuple
        Values of each factor, that of the base run first.
    denoiser : DenoiserSettings
        Of the base run, but for the factors.
    autoencoder : AutoencoderSettings
        Of the one that all runs share.
    n : int
        Volumes sampled of each.
    full : bool
        Every combination; else one factor at a time.
    """

    factors: Mapping[str, tuple[FactorValue, ...]]
    denoiser: DenoiserSettings
    autoencoder: AutoencoderSettings
    n: int
    full: bool = False

    @property
    def runs(self) -> list[ExperimentRun]:
        """All runs, the base run first."""
        base = {name: values[0] for name, values in self.factors.items()}
        if self.full:
            points = [
                dict(zip(self.factors, chosen, strict=True))
                for chosen in product(*self.factors.values())
            ]
        else:
            points = [base]
            for name, values in self.factors.items():
                points += [base | {name: value} for value in values[1:]]
        return [
            ExperimentRun(i, _name_run(point, base), point) for i, point in enumerate(points, 1)
        ]

    def settings(self, run: ExperimentRun, n_training: int, n_all: int) -> DenoiserSettings:
        """Return the settings of a run's training.

        Parameters
        ----------
        run : ExperimentRun
        n_training, n_all : int
            Training volumes of this run, and of the study.
        """
        values, base = run.values, self.denoiser
        changes: dict[str, Any] = {}
        if "augmentation" in values:
            changes["views"] = (
                (base.views or DEFAULT_VIEWS) if values["augmentation"] == "on" else 0
            )
        if "steps" in values:
            changes["steps"] = int(values["steps"])
        if "epochs" in values:
            changes["steps"] = max(
                1, ceil(float(values["epochs"]) * n_training / _count_step_volumes(base))
            )
        if "duplication" in values:
            times = int(values["duplication"])
            # Written one way: a base run with and without this factor is the same run.
            changes["times"] = times
            changes["duplicated"] = min(self.duplicated(n_all), n_training) if times > 1 else 0
        if "width" in values:
            changes["channels"] = tuple(
                max(8, round(float(values["width"]) * channels / 8) * 8)
                for channels in base.channels
            )
        if "seed" in values:
            changes["seed"] = int(values["seed"])
        try:
            return DenoiserSettings.model_validate(base.model_dump() | changes)
        except ValidationError as error:
            raise BadInput(f"run {run.name}: {describe_validation_error(error)}.") from error

    def duplicated(self, n_all: int) -> int:
        """Return how many volumes are drawn more often: as set, else an eighth of them."""
        return self.denoiser.duplicated or max(1, n_all // 8)

    def save(self, folder: str | Path) -> None:
        """Write it into the experiment's folder."""
        write_json(
            Path(folder) / PLAN_FILE,
            {
                "factors": [[name, list(values)] for name, values in self.factors.items()],
                "denoiser": self.denoiser.model_dump(mode="json"),
                "autoencoder": self.autoencoder.model_dump(mode="json"),
                "n": self.n,
                "full": self.full,
            },
        )


def _name_run(values: Mapping[str, FactorValue], base: Mapping[str, FactorValue]) -> str:
    other = [f"{name}-{value}" for name, value in values.items() if value != base[name]]
    return "_".join(other) or "base"


def plan_experiment(
    study: Study,
    factors: Sequence[str] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    n: int = 64,
    full: bool = False,
) -> ExperimentPlan:
    """Return the plan of an experiment on a study.

    Parameters
    ----------
    study : Study
    factors : sequence of str
        Such as ``augmentation`` or ``steps=800,200``, the base run's value first. Without values a
        factor takes two. By default `DEFAULT_FACTORS`.
    settings : mapping, optional
        Of the base run's denoiser; under ``autoencoder`` those of the autoencoder.
    n : int
        Volumes sampled of each run.
    full : bool
        Every combination.

    Raises
    ------
    BadInput
        No such factor, setting or value.
    """
    given = dict(settings or {})
    coder = given.pop("autoencoder", {})
    if not isinstance(coder, Mapping):
        raise BadInput("autoencoder: name its settings one by one, such as autoencoder.steps=400.")
    try:
        denoiser = DenoiserSettings.model_validate(given)
        autoencoder = AutoencoderSettings.model_validate(coder)
    except ValidationError as error:
        raise BadInput(
            f"settings: {describe_validation_error(error)}. There are"
            f" {', '.join(DenoiserSettings.model_fields)}; of the autoencoder: autoencoder.steps"
            " and so on."
        ) from error
    if n < 1:
        raise BadInput(f"n {n}: at least one volume must be sampled of each run.")
    n_all = len(study.cohort.rows(Split.TRAINING))
    chosen: dict[str, tuple[FactorValue, ...]] = {}
    for text in factors or DEFAULT_FACTORS:
        name, equals, values = text.partition("=")
        name = name.strip()
        if name not in FACTORS:
            raise BadInput(f"factor '{text}': no such factor. There are {', '.join(FACTORS)}.")
        if name in chosen:
            raise BadInput(f"factor '{name}': named twice. Give its values in one: {name}=1,2.")
        if not equals:
            chosen[name] = _choose_default_values(name, denoiser, n_all)
            continue
        chosen[name] = tuple(_parse_value(name, v.strip(), n_all) for v in values.split(","))
        if len(set(chosen[name])) < len(chosen[name]):
            raise BadInput(f"factor '{text}': a value is there twice.")
    if {"steps", "epochs"} <= chosen.keys():
        raise BadInput("factors steps and epochs: one of the two; each sets the other.")
    return ExperimentPlan(chosen, denoiser, autoencoder, n, full)


def _count_step_volumes(settings: DenoiserSettings) -> int:
    """Return how many volumes a step draws."""
    return settings.batch * settings.accumulate


def _choose_default_values(
    name: str, base: DenoiserSettings, n_all: int
) -> tuple[FactorValue, ...]:
    epochs = base.steps * _count_step_volumes(base) / n_all
    usual: dict[str, tuple[FactorValue, ...]] = {
        "augmentation": ("off", "on"),
        "steps": (base.steps, max(1, base.steps // 4)),
        "epochs": (round(epochs, 2), round(epochs / 4, 2)),
        "size": (n_all, max(2, n_all // 2)),
        "duplication": (1, 8),
        "width": (1.0, 0.5),
        "seed": (base.seed, base.seed + 1),
    }
    return tuple(dict.fromkeys(usual[name]))


def _parse_value(name: str, text: str, n_all: int) -> FactorValue:
    wrong = f"--factor {name}={text}: {FACTORS[name].what} expected"
    if name == "augmentation":
        if text not in ("off", "on"):
            raise BadInput(f"{wrong}.")
        return text
    if name == "size" and text == "all":
        return n_all
    try:
        value = float(text) if name in ("width", "epochs") else int(text)
    except ValueError as error:
        raise BadInput(f"{wrong}, a number.") from error
    least = {"size": 2, "seed": 0, "width": 0.01, "epochs": 0.01}.get(name, 1)
    most = {"size": n_all, "width": 16}.get(name, 2**31)
    if not least <= value <= most:
        raise BadInput(f"{wrong}, from {least:g} to {most:g}.")
    return value


def read_plan(folder: str | Path) -> ExperimentPlan | None:
    """Return the plan that an experiment's folder holds; None where there is none.

    Raises
    ------
    BadInput
        It cannot be read.
    """

    def parsed(values: Any) -> ExperimentPlan:
        return ExperimentPlan(
            {name: tuple(levels) for name, levels in values["factors"]},
            DenoiserSettings.model_validate(values["denoiser"]),
            AutoencoderSettings.model_validate(values["autoencoder"]),
            values["n"],
            values["full"],
        )

    try:
        return parse_json(
            Path(folder) / PLAN_FILE, parsed, "Delete the file, and name the factors again."
        )
    except FileNotFoundError:
        return None
