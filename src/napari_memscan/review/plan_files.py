"""Plans of blind studies on disk, hashed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json
from napari_memscan.review.blind_case import BlindCase, BlindPane
from napari_memscan.review.blind_plan import (
    ArrayLocation,
    BlindPlan,
    Exhibit,
    ExhibitKind,
    HiddenCase,
)
from napari_memscan.review.events import EventKind, ReadingEvent
from napari_memscan.typing import Verdict


def save_plan(made: BlindPlan, folder: str | Path) -> Path:
    """Write a plan into a folder; its name says nothing. Return the file.

    Raises
    ------
    JobFailed
        It cannot be written.
    """
    path = Path(folder) / f"{made.id}.json"
    write_json(path, {"sha256": made.sha256, "plan": asdict(made)})
    return path


def load_plan(path: str | Path) -> BlindPlan:
    """Read a plan.

    Raises
    ------
    BadInput
        No plan, or not as it was written.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        made, sha256 = _parse_plan(value["plan"]), value["sha256"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # What the error says of the content stays unsaid: a reader may see the message.
        raise BadInput(
            f"{path}: no plan of a blind study, or damaged. Restore it from a backup."
        ) from error
    if made.sha256 != sha256:
        raise BadInput(f"{path}: this plan was changed after it was made. Restore it.")
    return made


def load_plans(folder: str | Path) -> list[BlindPlan]:
    """Return all plans of a folder, oldest first; none where there is no folder."""
    paths = sorted(Path(folder).glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    return [load_plan(path) for path in paths]


def find_plan_mismatches(
    folder: str | Path, events: Iterable[ReadingEvent]
) -> list[tuple[int, str]]:
    """Return what in the plans does not fit the answers that were given to them.

    Returns
    -------
    list of (int, str)
        Number of the event, and what is wrong.
    """
    plans: dict[str, BlindPlan | str] = {}
    wrong = []
    for event in events:
        name = str(event.evidence.get("plan_id", ""))
        if not name or event.decision == EventKind.WITHDRAWN:
            continue
        if name not in plans:
            plans[name] = _load_or_explain(Path(folder), name)
        made = plans[name]
        if isinstance(made, str):
            wrong.append((event.id, made))
        elif event.evidence.get("plan") != made.sha256:
            wrong.append((event.id, "its blind plan was changed after this answer"))
        elif made.reader != event.reader or event.sample not in made.named(event.evidence):
            wrong.append((event.id, "is about another case than its blind plan says"))
    return wrong


def _load_or_explain(folder: Path, name: str) -> BlindPlan | str:
    path = folder / f"{Path(name).name}.json"
    if not path.exists():
        return f"its blind plan {path.name} is missing: what the case was cannot be verified"
    try:
        return load_plan(path)
    except BadInput:
        return f"its blind plan {path.name} is damaged or was changed"


def _parse_plan(value: Mapping[str, Any]) -> BlindPlan:
    """Return a plan of its JSON; ValueError, KeyError or TypeError where it is none."""

    def exhibit(of: Mapping[str, Any]) -> Exhibit:
        held = {name: ArrayLocation(**of[name]) for name in ("shown", "partner")}
        said = {
            "kind": ExhibitKind(of["kind"]),
            "verdict": Verdict(of["verdict"]) if of["verdict"] else None,
            "transform": _to_tuple(of["transform"]),
        }
        return Exhibit(**{**of, **held, **said})

    cases = tuple(
        BlindCase(
            **{
                **of,
                "answers": tuple(of["answers"]),
                "panes": tuple(BlindPane(**pane) for pane in of["panes"]),
                "transform": _to_tuple(of["transform"]),
            }
        )
        for of in value["cases"]
    )
    secrets = tuple(
        HiddenCase(
            of["number"],
            exhibit(of["exhibit"]),
            {key: ArrayLocation(**held) for key, held in of["keys"].items()},
            of["synthetic"],
        )
        for of in value["secrets"]
    )
    parts = {"cases": cases, "secrets": secrets, "refused": tuple(value["refused"])}
    return BlindPlan(**{**value, **parts})


def _to_tuple(value: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if value is None else tuple(value)
