"""What a study knows of measures against copying that need another training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.files import parse_json
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.detection.mitigation import RetrainingComparison

DUPLICATES_FILE = "duplicates.json"
MONITOR_LOG = "models/denoiser/memorisation.csv"
EXPERIMENT_ANSWERS = "experiment/answers.json"
"""In the study: what its commands left."""

MEASURE_NAMES = {
    "augmentation": "augmentation",
    "steps": "fewer steps",
    "epochs": "fewer epochs",
    "size": "more training volumes",
    "duplication": "deduplication",
    "width": "smaller denoiser",
}
"""Factor of an experiment to the measure that it stands for."""


def describe_untried_measures(study: Study) -> dict[str, str]:
    """Return what is known of measures that need another training and were not tried."""
    found = {"deduplication": _describe_duplicates(study.scan_dir / DUPLICATES_FILE)}
    if not _compare_early_stop(study.folder):
        found["early stop"] = _describe_monitoring(study.folder / MONITOR_LOG)
    if not _compare_experiment(study.folder):
        found["training"] = (
            "Not tried. 'memscan experiment STUDY' says what augmentation, fewer steps, more data "
            "and a smaller network do on this cohort."
        )
    return found


def collect_retraining_evidence(study: Study) -> tuple[RetrainingComparison, ...]:
    """Return copies before and after each measure that was tried, from the study's files."""
    return (*_compare_experiment(study.folder), *_compare_early_stop(study.folder))


def _describe_duplicates(path: Path) -> str:
    if not path.exists():
        return (
            "Not looked for. 'memscan dedup STUDY --write CSV' finds volumes that are twice in "
            "training; then train again without them."
        )

    def count(values: Any) -> tuple[int, int]:
        return sum(len(group["volumes"]) - 1 for group in values["groups"]), values["n_training"]

    n, n_training = parse_json(path, count, "Run 'memscan dedup' again.")
    if not n:
        return f"No volume is twice among the {n_training} training volumes."
    return (
        f"{n} of {n_training} training volumes are there twice. Train again without "
        "them: memscan dedup STUDY --write CSV."
    )


def _describe_monitoring(path: Path) -> str:
    from napari_memscan.jobs.training.monitor import read_log

    rows = read_log(path)
    if not rows:
        return (
            "Not watched. 'memscan train denoiser STUDY --monitor 200 --stop-above 0.1' keeps the "
            "last checkpoint that copied less."
        )
    first, last = rows[0], rows[-1]
    return (
        f"While it trained, {first.n_copies} of {first.n} volumes were called at step "
        f"{first.step}, {last.n_copies} of {last.n} at step {last.step}; no earlier checkpoint is "
        "kept."
    )


def _compare_early_stop(folder: Path) -> list[RetrainingComparison]:
    """Compare the last look with that at the checkpoint that was kept before."""
    from napari_memscan.checkpoints.native_format import read_recipe
    from napari_memscan.detection.mitigation import RetrainingComparison
    from napari_memscan.detection.statistics.differences import ProportionDifference
    from napari_memscan.detection.statistics.proportions import Proportion
    from napari_memscan.jobs.training.monitor import BEST_FOLDER, read_log

    path = folder / MONITOR_LOG
    rows, best = read_log(path), path.parent / BEST_FOLDER
    if not rows or not (best / "recipe.json").exists():
        return []
    made = read_recipe(best).provenance.get("denoiser", {})
    last = rows[-1]
    kept = next((row for row in rows[:-1] if row.step == made.get("step")), None)
    if kept is None:
        return []
    return [
        RetrainingComparison(
            "early stop",
            f"{last.step} -> {kept.step} steps",
            "called while it trained",
            Proportion(last.n_copies, last.n),
            Proportion(kept.n_copies, kept.n),
            ProportionDifference(last.n_copies, last.n, kept.n_copies, kept.n).answer("lowers"),
            MONITOR_LOG,
            "both looks were chosen by what they show, which makes the difference look larger; "
            "scan volumes of both to know",
        )
    ]


def _compare_experiment(folder: Path) -> list[RetrainingComparison]:
    """Turn each answer the way in which copies are expected to become fewer."""
    from napari_memscan.detection.mitigation import RetrainingComparison
    from napari_memscan.detection.statistics.proportions import Proportion

    path = folder / EXPERIMENT_ANSWERS

    def parsed(values: Any) -> list[RetrainingComparison]:
        counted = {
            "verdict copy": "verified copies",
            values["deciding"]: f"{values['deciding']} calls",
        }
        found = []
        for a in values["answers"]:
            if a["measure"] not in counted or a["factor"] not in MEASURE_NAMES:
                continue
            way = 1 if a["expected"] == "lowers" else -1
            low, high = (a["low"], a["high"])[::way]
            before, after = (Proportion(*counts) for counts in a["counts"][::way])
            found.append(
                RetrainingComparison(
                    MEASURE_NAMES[a["factor"]],
                    f"{low} -> {high}",
                    counted[a["measure"]],
                    before,
                    after,
                    a["answer"],
                    EXPERIMENT_ANSWERS,
                    a["note"],
                )
            )
        return found

    try:
        return parse_json(path, parsed, "'memscan experiment' writes it again.")
    except FileNotFoundError:
        return []
