"""What a study knows of measures against copying that need another training."""

from __future__ import annotations

import json
from pathlib import Path

from napari_memscan.files import read_small
from napari_memscan.study import Study


def elsewhere(study: Study) -> dict[str, str]:
    """Return measures that need another training, with what this study knows of them."""
    return {
        "deduplication": _of_duplicates(study.scan_dir / "duplicates.json"),
        "early stop": _of_watching(study.folder / "models" / "denoiser" / "memorisation.csv"),
        "training": _of_experiment(study.folder / "experiment" / "answers.json"),
    }


def _of_duplicates(path: Path) -> str:
    if not path.exists():
        return (
            "Not looked for. 'memscan dedup STUDY --write CSV' finds volumes that are twice in "
            "training; then train again without them."
        )
    values = json.loads(read_small(path))
    n = sum(len(group["volumes"]) - 1 for group in values["groups"])
    if not n:
        return f"No volume is twice among the {values['n_training']} training volumes."
    return (
        f"{n} of {values['n_training']} training volumes are there twice. Train again without "
        "them: memscan dedup STUDY --write CSV."
    )


def _of_watching(path: Path) -> str:
    from napari_memscan.jobs.monitoring import read_log

    rows = read_log(path)
    if not rows:
        return (
            "Not watched. 'memscan train denoiser STUDY --monitor 200 --stop-above 0.1' keeps the "
            "last checkpoint that copied less."
        )
    first, last = rows[0], rows[-1]
    return (
        f"While it trained, {first.n_copies} of {first.n} volumes were called at step "
        f"{first.step}, {last.n_copies} of {last.n} at step {last.step}."
    )


def _of_experiment(path: Path) -> str:
    if not path.exists():
        return (
            "Not tried. 'memscan experiment STUDY' says what augmentation, fewer steps, more data "
            "and a smaller network do on this cohort."
        )
    values = json.loads(read_small(path))
    told = [
        f"{a['factor']} {a['low']} to {a['high']} {a['expected']} copying: {a['answer']} "
        f"({a['counts'][0][0]} of {a['counts'][0][1]} to {a['counts'][1][0]} of "
        f"{a['counts'][1][1]})"
        for a in values["answers"]
        if a["measure"] == values["deciding"]
    ]
    return "; ".join(told) + "." if told else "The experiment has no answer yet."
