"""What membership inference found, with all that the numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.detection.statistics.roc import RocAnalysis

FORMAT = 1

FEW_SUBJECTS = 20
"""With fewer subjects in a split an interval says little; it is shown with a warning."""

STANDING_CAVEATS = (
    "An AUC near 0.5 does not mean that nothing is copied: it is an average over all training "
    "volumes, a few copied ones hardly move it, and stronger attacks than these are known. Look "
    "for copies with a scan.",
    "If the autoencoder was trained on the training volumes as well, their latents may differ from "
    "those of validation for that reason alone; part of the AUC is then the autoencoder's.",
    "If validation is from another distribution (scanner, site, years), every attack tells the "
    "splits apart without any memorisation.",
)


@dataclass(frozen=True)
class AttackResult:
    """What one attack found.

    Attributes
    ----------
    attack, rule : str
        Its name, and what is computed; larger: rather a training volume.
    settings : dict
        Noise level t of this model, draws, seed ...
    separation : RocAnalysis
        AUC, intervals, rates.
    training, validation : tuple of float
        Score of each volume.
    """

    attack: str
    rule: str
    settings: dict[str, Any]
    separation: RocAnalysis
    training: tuple[float, ...]
    validation: tuple[float, ...]


@dataclass(frozen=True)
class MembershipResult:
    """Membership inference for a denoiser: all that the numbers depend on.

    Attributes
    ----------
    attacks : tuple of AttackResult
        In the order asked for.
    control : AttackResult
        The same measures for latents alone, without the denoiser.
    n_training, n_validation, n_training_subjects, n_validation_subjects : int
        Sizes.
    training_names, validation_names : tuple of str
        Names of the volumes, in the order of the scores.
    prediction_type, schedule : str
        Of the denoiser.
    levels : int
        Its noise levels in training.
    condition : str
        What it was told.
    preprocessing : dict
        What volumes went through.
    checkpoint_hash, recipe_hash : str
        Of the model.
    threads : int
        Of the processor; 0 where it does not count.
    seed : int
        Of bootstrap and shuffling.
    resamples : int
        Of each.
    confidence : float
        Of the intervals.
    warnings : tuple of str
        What a reader of the numbers must know.
    """

    attacks: tuple[AttackResult, ...]
    control: AttackResult
    n_training: int
    n_validation: int
    n_training_subjects: int
    n_validation_subjects: int
    training_names: tuple[str, ...]
    validation_names: tuple[str, ...]
    prediction_type: str
    schedule: str
    levels: int
    condition: str
    preprocessing: dict[str, Any]
    checkpoint_hash: str
    recipe_hash: str
    threads: int
    seed: int
    resamples: int
    confidence: float
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return json.loads(json.dumps(asdict(self)))

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def __str__(self) -> str:
        level = f"{self.confidence:.0%}".replace("%", " %")
        lines = [
            f"training    {self.n_training} volumes of {self.n_training_subjects} subjects",
            f"validation  {self.n_validation} volumes of {self.n_validation_subjects} subjects",
            f"denoiser    {self.checkpoint_hash[:8]}, {self.prediction_type}, {self.schedule}, "
            f"{self.levels} levels, condition: {self.condition}",
            f"intervals   {level}, over subjects, {self.resamples} resamples, seed {self.seed}; "
            "scores: larger is rather training",
            "",
            f"{'attack':8} {'AUC':>6}  {'interval':16} {'p':>7}  {'success':>7} {'by chance':>9}  "
            "settings",
        ]
        for found in (*self.attacks, self.control):
            s = found.separation
            settings = " ".join(f"{k}={v:g}" for k, v in found.settings.items())
            lines.append(
                f"{found.attack:8} {s.auc:6.3f}  {s.interval[0]:.3f} to {s.interval[1]:.3f}   "
                f"{s.p_value:7.4f}  {s.success_rate:7.3f} {s.success_rate_by_chance:9.3f}  "
                f"{settings or 'no denoiser: latents alone'}"
            )
        lines.append("")
        for i, at in enumerate(self.control.separation.rates):
            if at.reason:
                lines.append(f"TPR at {at.fpr:.1%} FPR: {at.reason}")
                continue
            for found in self.attacks:
                own = found.separation.rates[i]
                assert own.tpr is not None
                assert own.interval is not None
                lines.append(
                    f"TPR at {own.fpr:.1%} FPR: {found.attack} {own.tpr:.1%} "
                    f"({level} interval {own.interval[0]:.1%} to {own.interval[1]:.1%})"
                )
        lines += [f"warning   {text}" for text in self.warnings]
        return "\n".join(lines)


def list_caveats(
    control: AttackResult,
    sizes: Sequence[int],
    unknown: int,
    twice: int,
    recipe: LDMRecipe,
    condition: str,
) -> Iterator[str]:
    """Yield what makes these numbers doubtful.

    Parameters
    ----------
    control : AttackResult
        Of the latents alone.
    sizes : sequence of int
        Training and validation subjects.
    unknown : int
        Volumes whose subject nobody said.
    twice : int
        Training volumes that are identical to another one.
    recipe : LDMRecipe
        Of the model.
    condition : str
        What the denoiser was told.
    """
    low, high = control.separation.interval
    if not low <= 0.5 <= high:
        yield (
            "The splits differ without the denoiser: the mean square of the latents alone has an "
            f"AUC of {control.separation.auc:.3f} ({low:.3f} to {high:.3f}). What the attacks "
            "find is not memorisation alone."
        )
    if min(sizes) < FEW_SUBJECTS:
        yield (
            f"{sizes[0]} training and {sizes[1]} validation subjects: with fewer than"
            f" {FEW_SUBJECTS} in a split the intervals are rough."
        )
    if unknown:
        yield (
            f"{unknown} volumes have no subject_id and count as subjects of their own; if they "
            "are not, the intervals are too narrow."
        )
    if twice:
        yield (
            f"{twice} training volumes are identical to another one. What is trained on more "
            "often is memorised more; they count each."
        )
    if recipe.scheduler.schedule == "rectified_flow":
        yield (
            "The attacks were published for noise schedules. For this rectified flow the noise "
            "is x_t - (1 - t) v on its straight path; nobody has measured how well that works."
        )
    if recipe.conditioning is not None and not recipe.conditioning.classes:
        yield (
            f"The denoiser was told the same for every volume ({condition}), without "
            "guidance. Where training told it something else, scores are off."
        )
