"""What the cases of a blind study are, and how they are drawn; no front end sees this.

What one may see is in `blind_case`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from napari_memscan.errors import BadInput
from napari_memscan.review.blind_case import (
    CHOICE_QUESTION,
    COPY_QUESTION,
    SIDES,
    BlindCase,
    BlindPane,
)
from napari_memscan.review.events import to_canonical_json
from napari_memscan.typing import Decision, Stage, Verdict


class ExhibitKind(StrEnum):
    """What is shown."""

    SYNTHETIC = "synthetic"
    """A sample."""
    PLANTED = "planted"
    """A copy made on purpose."""
    DISTRACTOR = "distractor"
    """A validation volume, shown as a sample."""


@dataclass(frozen=True)
class ArrayLocation:
    """Where an array is.

    Attributes
    ----------
    name : str
        Of the volume it came from: a sample, or a row of the cohort.
    array : str
        Its key in the study's cache, where it is not what preprocessing makes of the file.
    """

    name: str
    array: str = ""


@dataclass(frozen=True)
class Exhibit:
    """A volume that can be shown in a blind study, and what is known of it.

    Attributes
    ----------
    name : str
        In the store: a sample, such as ``s000003``; a validation volume by its name in the cohort;
        ``p000012`` for a planted copy.
    kind : ExhibitKind
    shown, partner : ArrayLocation
        The volume, and the training volume nearest to it.
    verdict : Verdict or None
        What the program says; nothing of a validation volume.
    value : float or None
        What the verdict rests on.
    transform : tuple of float or None
        The pose that lays it on its partner.
    """

    name: str
    kind: ExhibitKind
    shown: ArrayLocation
    partner: ArrayLocation
    verdict: Verdict | None = None
    value: float | None = None
    transform: tuple[float, ...] | None = None

    @property
    def truth(self) -> int | None:
        """1 for a planted copy, 0 for a validation volume, None where only readers can say."""
        return {ExhibitKind.PLANTED: 1, ExhibitKind.DISTRACTOR: 0}.get(self.kind)


@dataclass(frozen=True)
class HiddenCase:
    """What a case is.

    Attributes
    ----------
    number : int
        Of the case.
    exhibit : Exhibit
        What is asked about.
    keys : dict of str to ArrayLocation
        Key of each pane to its array.
    synthetic : str
        The pane with the exhibit.
    """

    number: int
    exhibit: Exhibit
    keys: dict[str, ArrayLocation]
    synthetic: str


@dataclass(frozen=True)
class BlindPlan:
    """A reader's cases with what they are: for the session and the disk, not for a front end.

    Attributes
    ----------
    id : str
        Random; also the name of its file.
    reader, seed : str, int
        Whose it is; with the exhibits they determine everything in it.
    forced_choice : bool
        Two-alternative forced choice; else the question is whether A is a copy of B.
    reveal : str
        ``case``: after each decision. ``end``: after the last.
    cases : tuple of BlindCase
        In the order of reading.
    secrets : tuple of HiddenCase
        What they are, in the same order.
    refused : tuple of str
        Names that this reader has seen too recently.
    """

    id: str
    reader: str
    seed: int
    forced_choice: bool
    reveal: str
    cases: tuple[BlindCase, ...]
    secrets: tuple[HiddenCase, ...]
    refused: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        """With which stage its answers are recorded."""
        return Stage.FORCED_CHOICE if self.forced_choice else Stage.BLIND

    @property
    def sha256(self) -> str:
        """Of everything in it. Recorded with each answer, so that a reveal can be verified.

        The keys in it are random: the hash does not tell what the cases are.
        """
        return hashlib.sha256(to_canonical_json(asdict(self)).encode()).hexdigest()

    def named(self, evidence: Mapping[str, Any]) -> set[str]:
        """Return the name of the case that an answer's evidence says it is about."""
        return {s.exhibit.name for s in self.secrets if s.number == evidence.get("case")}

    def truth(self) -> dict[str, int]:
        """Return name to 1 (a copy) or 0, for what was planted or is a validation volume."""
        known = ((s.exhibit.name, s.exhibit.truth) for s in self.secrets)
        return {name: truth for name, truth in known if truth is not None}


def draw_blind_plan(
    exhibits: Iterable[Exhibit],
    reader: str,
    seed: int,
    *,
    forced_choice: bool = False,
    n_cases: int | None = None,
    n_distractors: int | None = None,
    reveal: str = "case",
    last_seen: Mapping[str, str] | None = None,
    washout_days: float = 0,
    now: datetime | None = None,
) -> BlindPlan:
    """Draw a reader's cases; the same arguments give the same plan.

    Parameters
    ----------
    exhibits : iterable of Exhibit
        All that can be shown; names must not repeat.
    reader : str
        Each has an order of their own.
    seed : int
        Of the order, sides and choice.
    forced_choice : bool
        Pairs of a synthetic and a validation volume, the side drawn; none is shown twice.
    n_cases : int, optional
        Synthetic and planted ones; else all. Of more, those shown are drawn, planted ones first:
        whoever mixes them in wants them seen.
    n_distractors : int, optional
        Validation volumes shown as synthetic; else half as many as the others, at least one.
    reveal : {"case", "end"}
        When a reader may see what a case was.
    last_seen : mapping of str to str, optional
        Name to the time this reader last saw it; see `Standing.last_seen`.
    washout_days : float
        What was seen in these days is not shown again, and named in `BlindPlan.refused`.
    now : datetime, optional
        For the washout.

    Raises
    ------
    BadInput
        Nothing to show, or no distractors: a reader would know what every case is.
    """
    if not reader.strip():
        raise BadInput("a blind study needs the reader's name.")
    if reveal not in ("case", "end"):
        raise BadInput(f"reveal '{reveal}': 'case' or 'end' is expected.")
    every = sorted(exhibits, key=lambda e: e.name)
    names = [e.name for e in every]
    if len(set(names)) < len(names):
        raise BadInput("two volumes of a blind study have the same name.")
    refused = _find_recently_seen(names, last_seen or {}, washout_days, now or datetime.now(UTC))
    usable = [e for e in every if e.name not in refused]
    if any(e.transform is None for e in usable):
        # Were only some laid on their partners, that would tell them apart.
        usable = [replace(e, transform=None) for e in usable]
    asked = [e for e in usable if e.kind != ExhibitKind.DISTRACTOR]
    real = [e for e in usable if e.kind == ExhibitKind.DISTRACTOR]
    if not asked or not real:
        missing = "validation volume" if asked else "synthetic volume"
        why = f", {len(refused)} were seen less than {washout_days:g} days ago" if refused else ""
        raise BadInput(
            f"a blind study for {reader.strip()}: no {missing} to show{why}. Both kinds are "
            "needed: else the reader knows what every case is."
        )
    digest = hashlib.sha256(f"{seed}\0{reader.strip()}".encode()).digest()
    random = np.random.default_rng(list(digest))
    asked = _select_planted_first(_draw_exhibits(random, asked, None), n_cases)
    if forced_choice:
        pairs = min(len(asked), len(real))
        asked, real = _select_planted_first(asked, pairs), _draw_exhibits(random, real, pairs)
        drawn = [
            _make_choice_case(random, i, a, b)
            for i, (a, b) in enumerate(zip(asked, real, strict=True), 1)
        ]
    else:
        share = max(1, len(asked) // 2) if n_distractors is None else max(1, n_distractors)
        shown = [*asked, *_draw_exhibits(random, real, share)]
        order = random.permutation(len(shown))
        drawn = [_make_copy_case(random, i, shown[j]) for i, j in enumerate(order, 1)]
    return BlindPlan(
        id=_draw_key(random),
        reader=reader.strip(),
        seed=seed,
        forced_choice=forced_choice,
        reveal=reveal,
        cases=tuple(case for case, _ in drawn),
        secrets=tuple(secret for _, secret in drawn),
        refused=tuple(sorted(refused)),
    )


def _find_recently_seen(
    names: Sequence[str], last_seen: Mapping[str, str], days: float, now: datetime
) -> set[str]:
    if days <= 0:
        return set()
    since = now - timedelta(days=days)
    return {n for n in names if n in last_seen and datetime.fromisoformat(last_seen[n]) > since}


def _draw_exhibits(random: np.random.Generator, of: list[Exhibit], n: int | None) -> list[Exhibit]:
    """Return `n` of them in random order."""
    return [of[i] for i in random.permutation(len(of))][: len(of) if n is None else max(1, n)]


def _select_planted_first(drawn: list[Exhibit], n: int | None) -> list[Exhibit]:
    """Return `n` of them, planted ones before others, in the order in which they were drawn."""
    if n is None:
        return drawn
    kept = sorted(drawn, key=lambda e: e.kind != ExhibitKind.PLANTED)[: max(1, n)]
    return [e for e in drawn if e in kept]


def _draw_key(random: np.random.Generator) -> str:
    return random.bytes(8).hex()


def _make_copy_case(
    random: np.random.Generator, number: int, one: Exhibit
) -> tuple[BlindCase, HiddenCase]:
    panes = tuple(BlindPane(side, _draw_key(random)) for side in SIDES)
    keys = {panes[0].key: one.shown, panes[1].key: one.partner}
    case = BlindCase(number, f"Case {number}", COPY_QUESTION, tuple(Decision), panes, one.transform)
    return case, HiddenCase(number, one, keys, SIDES[0])


def _make_choice_case(
    random: np.random.Generator, number: int, one: Exhibit, real: Exhibit
) -> tuple[BlindCase, HiddenCase]:
    panes = tuple(BlindPane(side, _draw_key(random)) for side in SIDES)
    at = int(random.integers(2))
    keys = {panes[at].key: one.shown, panes[1 - at].key: real.shown}
    # Keys in the order of the panes: that of the file would tell.
    keys = {pane.key: keys[pane.key] for pane in panes}
    case = BlindCase(number, f"Case {number}", CHOICE_QUESTION, SIDES, panes)
    return case, HiddenCase(number, one, keys, SIDES[at])
