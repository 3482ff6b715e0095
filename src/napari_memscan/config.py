"""What `study.toml` says, and defaults where nobody said anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput, describe_validation_error
from napari_memscan.typing import Split, Verdict
from napari_memscan.volumes.preprocessing import MinMax, Percentile, Preprocessing, Window

if TYPE_CHECKING:
    from napari_memscan.volumes.cohort import Cohort

FORMAT_VERSION = 1
"""Version of `study.toml`; a larger number in a file means that a newer memscan wrote it."""


class _ConfigSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _validate_overrides(value: dict[str, Any]) -> dict[str, Any]:
    from napari_memscan.checkpoints.overrides import ModelOverrides

    ModelOverrides.from_mapping(value)
    return value


OverrideValues = Annotated[dict[str, Any], AfterValidator(_validate_overrides)]
"""What a user states of a model, checked when a study is opened; see `ModelOverrides`."""


class GeneratorConfig(_ConfigSection):
    """What yields synthetic volumes.

    Attributes
    ----------
    kind : {"ldm", "folder"}
        A latent diffusion model, or a folder of volumes made elsewhere.
    path : str
        Checkpoint of any known family, or folder of volumes.
    sampler, steps
        Override the recipe's where set.
    condition : str or None
        What a conditional model is told of every sample; by default each draws its own.
    declared : dict
        What the checkpoint's files do not say; see `ModelOverrides`.
    trust : bool
        Code that comes with the checkpoint may be run, in a process of its own.
    """

    kind: Literal["ldm", "folder"]
    path: str
    sampler: Literal["ddim", "ddpm", "rflow"] | None = None
    steps: int | None = Field(None, ge=1)
    condition: str | None = None
    declared: OverrideValues = {}
    trust: bool = False

    @property
    def external(self) -> bool:
        """Whether its volumes are made elsewhere: nothing can be drawn from it."""
        return self.kind == "folder"


class RuleConfig(_ConfigSection):
    """Which rule decides; all are reported.

    Attributes
    ----------
    name : {"conformal", "size-matched", "dar2024"}
        ``conformal`` bounds the share of mistakes among those called; the others set a tau.
    quantile : float
        Of the two with a tau; the paper's is 0.95.
    q : float
        Of ``conformal``: largest expected share of novel volumes among those called.
    """

    name: Literal["conformal", "size-matched", "dar2024"] = "conformal"
    quantile: float = Field(0.95, gt=0, lt=1)
    q: float = Field(0.1, gt=0, lt=1)


class VerificationConfig(_ConfigSection):
    """How candidates are proven in image space.

    Attributes
    ----------
    enabled : bool
        Without it verdicts rest on similarities of embeddings.
    retrieved, proposed : int
        Candidates of the correlator and of the embedder.
    verified : int
        Best of them that are registered; the embedder's nearest comes beside them.
    planted : int
        Planted copies of each kind, and as many near-duplicates, that class limits are learnt from.
    workers : int
        Processes that register; 0: one a processor. Results do not depend on it.
    """

    enabled: bool = True
    retrieved: int = Field(20, ge=1)
    proposed: int = Field(5, ge=1)
    verified: int = Field(3, ge=1)
    planted: int = Field(16, ge=0)
    workers: int = Field(0, ge=0)


class ReviewConfig(_ConfigSection):
    """Where decisions are kept, and how several readers share the work.

    Attributes
    ----------
    store : str
        A file, or ``postgresql://reader:${PASSWORD}@host/database``; ``${NAME}`` is an environment
        variable, so that no password needs to be here.
    readers : {"share", "each"}
        ``share``: a sample is read by one of them. ``each``: every reader reads every sample.
    """

    store: str = "review.sqlite"
    readers: Literal["share", "each"] = "share"


def _validate_answers(value: dict[str, str]) -> dict[str, str]:
    from napari_memscan.report.datasheet import PUBLISHER_QUESTIONS

    unknown = sorted(set(value) - set(PUBLISHER_QUESTIONS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: known are {', '.join(PUBLISHER_QUESTIONS)}")
    return value


def _refuse_called(verdict: Verdict) -> Verdict:
    if verdict.called:
        raise ValueError("called volumes never pass without a reader")
    return verdict


class ReleaseConfig(_ConfigSection):
    """Which volumes may leave the house, and how.

    Attributes
    ----------
    rule : tuple of {"novel", "undecided"}
        Verdicts that pass without a reader. Called volumes never do.
    readers : {"called", "all", "none"}
        Who must be read: what does not pass by `rule`, every volume, or nothing; see
        `report.policy.ReleasePolicy`.
    license : str
        SPDX identifier or free text; must be said here or with the command.
    n : int or None
        Volumes wanted; None: all that pass.
    bids : str
        Suffix such as ``T1w``: the release is laid out as BIDS. Empty: plain.
    dicom : bool
        Volumes are written as DICOM series as well.
    answers : dict of str to str
        What only the publisher knows of the datasheet; names as in
        `report.datasheet.PUBLISHER_QUESTIONS`.
    """

    rule: tuple[Annotated[Verdict, AfterValidator(_refuse_called)], ...] = (Verdict.NOVEL,)
    readers: Literal["called", "all", "none"] = "called"
    license: str = ""
    n: int | None = Field(None, ge=1)
    bids: str = Field("", pattern=r"^[A-Za-z0-9]*$")
    dicom: bool = False
    answers: Annotated[dict[str, str], AfterValidator(_validate_answers)] = {}


class StudyConfig(_ConfigSection):
    """What `study.toml` says.

    Attributes
    ----------
    name : str
        For people.
    generator : GeneratorConfig or None
        None: nothing to scan yet.
    embedder : str
        ``low-resolution`` or a checkpoint of any known family.
    embedder_declared : dict
        What its files do not say.
    embedder_trust : bool
        Code that comes with it may be run, in a process of its own.
    preprocessing : Preprocessing
        What real and synthetic volumes go through.
    rule : RuleConfig
        Which rule decides.
    verification : VerificationConfig
        How candidates are proven in image space.
    review : ReviewConfig
        Where decisions are kept, and how several readers share the work.
    release : ReleaseConfig
        Which volumes may leave the house, and how.
    k : int
        Neighbours kept for each sample.
    seed : int
        First seed for generating.
    warnings : tuple of str
        What the import of the cohort found and every reader of the numbers must know.
    model_warnings : tuple of str
        What a test of the generator found.
    """

    format: int = FORMAT_VERSION
    name: str
    generator: GeneratorConfig | None = None
    embedder: str = LOW_RESOLUTION
    embedder_declared: OverrideValues = {}
    embedder_trust: bool = False
    preprocessing: Preprocessing
    rule: RuleConfig = RuleConfig()
    verification: VerificationConfig = VerificationConfig()
    review: ReviewConfig = ReviewConfig()
    release: ReleaseConfig = ReleaseConfig()
    k: int = Field(5, ge=1, le=50)
    seed: int = Field(1, ge=0)
    warnings: tuple[str, ...] = ()
    model_warnings: tuple[str, ...] = ()


def suggest_preprocessing(
    cohort: Cohort,
    *,
    trained: Sequence[Preprocessing] = (),
    shape: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
    intensity: Window | Percentile | MinMax | None = None,
) -> Preprocessing:
    """Return what fits models and cohort, where the user did not say it.

    Parameters
    ----------
    cohort : Cohort
        Its training volumes give the shape where no model does: the median of each axis, to the
        nearest multiple of 8, which networks can halve three times.
    trained : sequence of Preprocessing
        What the models were trained with; the first goes before the others.
    shape, spacing, intensity : optional
        Go before all. Without any model the intensity rule is the 1st to 99th percentile.
    """
    model = trained[0] if trained else None
    if model is not None:
        spacing = spacing or model.spacing
    if shape is None:
        shape = model.shape if model is not None else _compute_median_shape(cohort, spacing)
    if intensity is None:
        intensity = model.intensity if model is not None else Percentile(low=1, high=99)
    try:
        return Preprocessing(shape=shape, spacing=spacing, intensity=intensity)
    except ValidationError as error:
        raise BadInput(f"preprocessing: {describe_validation_error(error)}.") from error


def _compute_median_shape(
    cohort: Cohort, spacing: tuple[float, float, float] | None
) -> tuple[int, int, int]:
    from statistics import median

    rows = cohort.rows(Split.TRAINING)
    shapes = []
    # Every n-th of a large cohort: its median does not change, and nobody waits for minutes.
    for row in rows[:: max(1, len(rows) // 40)]:
        volume = row.read()
        size = [float(n) for n in volume.data.shape]
        if spacing is not None and volume.spacing is not None:
            size = [n * a / b for n, a, b in zip(size, volume.spacing, spacing, strict=True)]
        shapes.append(size)
    x, y, z = (max(16, int(median(axis) / 8 + 0.5) * 8) for axis in zip(*shapes, strict=True))
    return x, y, z
