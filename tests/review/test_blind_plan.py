"""A blind study: nothing tells, the answers are recorded, the reveal can be verified."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.review.audit import audit_store
from napari_memscan.review.blind_case import CHOICE_QUESTION, COPY_QUESTION
from napari_memscan.review.blind_plan import ArrayLocation, Exhibit, draw_blind_plan
from napari_memscan.review.blind_session import BlindSession
from napari_memscan.review.events import EventKind
from napari_memscan.review.plan_files import load_plan, load_plans, save_plan
from napari_memscan.review.store import DecisionStore

POSE = tuple(np.eye(4).ravel().tolist())


def exhibits(n=6, n_validation=4):
    synthetic = [
        Exhibit(
            f"s{i:06d}",
            "planted" if i == 5 else "synthetic",
            ArrayLocation(f"/data/synthetic/s{i:06d}.nii.gz"),
            ArrayLocation(f"/data/train/patient-{i}.nii.gz"),
            "copy" if i < 2 else "novel",
            0.987654 - i / 10,
            POSE,
        )
        for i in range(n)
    ]
    validation = [
        Exhibit(
            f"v{i:06d}",
            "distractor",
            ArrayLocation(f"/data/val/held-{i}.nii.gz", f"cache{i}"),
            ArrayLocation(f"/data/train/patient-{i + 20}.nii.gz"),
            transform=POSE,
        )
        for i in range(n_validation)
    ]
    return synthetic + validation


SECRETS = [
    "data",
    "synthetic",
    "train",
    "patient",
    "val",
    "held",
    "nii",
    "cache",
    "s0000",
    "v0000",
    "distractor",
    "planted",
    "novel",
    "0.98",
    "0.88",
    "verdict",
    "score",
    "path",
    "similarity",
    "rank",
    "Ann",
]


def loads(held):
    return np.full((2, 2, 2), hash(held) % 97, np.float32)


@pytest.fixture
def store(tmp_path):
    store = DecisionStore(tmp_path / "review.sqlite")
    yield store
    store.close()


@pytest.mark.parametrize("forced_choice", [False, True])
def test_nothing_of_what_a_case_is_reaches_a_front_end(store, forced_choice):
    made = draw_blind_plan(exhibits(), "Ann", 1, forced_choice=forced_choice)
    reading = BlindSession(made, store, loads)
    seen = [reading.find_next(), *reading.cases]
    texts = [
        json.dumps([asdict(case) for case in seen]),
        repr(seen),
        repr(pickle.dumps(seen)),
        repr([vars(case) for case in seen]),
        repr(reading),
    ]
    for text in texts:
        # The class of a pickled case is named with its module; that is the program's.
        text = text.replace("napari_memscan", "")
        assert [secret for secret in SECRETS if secret in text] == []
    keys = [pane.key for case in reading.cases for pane in case.panes]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)
    assert [case.title for case in seen[1:]] == [f"Case {i + 1}" for i in range(len(made.cases))]
    assert {pane.title for case in seen for pane in case.panes} == {"A", "B"}
    assert {case.transform for case in seen} == {None if forced_choice else POSE}


def test_a_front_end_needs_no_module_that_knows_more():
    import napari_memscan.review.blind_case as module

    assert not [name for name in vars(module) if name in ("Exhibit", "Secret", "BlindPlan")]


def test_a_volume_that_cannot_be_read_tells_nothing(store):
    def fails(held):
        raise BadInput(f"{held.name}: missing")

    reading = BlindSession(draw_blind_plan(exhibits(), "Ann", 1), store, fails)
    with pytest.raises(JobFailed, match="Case 2, B cannot be read") as error:
        reading.array(reading.cases[1].panes[1].key)
    assert "data" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
    with pytest.raises(JobFailed, match="this pane"):
        reading.array("unknown")


def test_distractors_are_mixed_in_and_every_case_asks_the_same():
    made = draw_blind_plan(exhibits(), "Ann", 1)
    kinds = [s.exhibit.kind for s in made.secrets]
    assert sorted(kinds) == ["distractor"] * 3 + ["planted"] + ["synthetic"] * 5
    assert {case.question for case in made.cases} == {COPY_QUESTION}
    names = [s.exhibit.name for s in made.secrets]
    assert names != sorted(names)
    assert made.truth() == {"s000005": 1} | {n: 0 for n in names if n[0] == "v"}
    few = draw_blind_plan(exhibits(), "Ann", 1, n_cases=2, n_distractors=4)
    assert len(few.cases) == 6
    for forced in (False, True):
        few = draw_blind_plan(exhibits(40), "Ben", 2, n_cases=4, forced_choice=forced)
        assert "planted" in [s.exhibit.kind for s in few.secrets], "mixed in to be seen"
    for secret, case in zip(made.secrets, made.cases, strict=True):
        shown, partner = (secret.keys[pane.key] for pane in case.panes)
        assert (shown, partner) == (secret.exhibit.shown, secret.exhibit.partner)


def test_a_plan_is_the_same_for_the_same_seed_and_another_for_each_reader():
    first = draw_blind_plan(exhibits(), "Ann", 1)
    assert draw_blind_plan(reversed(exhibits()), " Ann ", 1) == first
    order = [s.exhibit.name for s in first.secrets]
    assert [s.exhibit.name for s in draw_blind_plan(exhibits(), "Ben", 1).secrets] != order
    assert [s.exhibit.name for s in draw_blind_plan(exhibits(), "Ann", 2).secrets] != order


def test_poses_that_only_some_have_are_shown_for_none():
    mixed = [replace(e, transform=None) if e.kind == "distractor" else e for e in exhibits()]
    assert {case.transform for case in draw_blind_plan(mixed, "Ann", 1).cases} == {None}


def test_pairs_of_a_forced_choice_are_drawn_with_their_sides():
    made = draw_blind_plan(exhibits(40, 40), "Ann", 3, forced_choice=True)
    assert {case.question for case in made.cases} == {CHOICE_QUESTION}
    assert len(made.cases) == 40
    sides = [s.synthetic for s in made.secrets]
    assert 10 < sides.count("A") < 30
    real = [h.name for s in made.secrets for h in s.keys.values() if "val" in h.name]
    assert len(set(real)) == 40
    for secret, case in zip(made.secrets, made.cases, strict=True):
        key = next(pane.key for pane in case.panes if pane.title == secret.synthetic)
        assert secret.keys[key] == secret.exhibit.shown
    assert len(draw_blind_plan(exhibits(6, 4), "Ann", 3, forced_choice=True).cases) == 4


def test_what_was_seen_lately_is_refused_to_the_same_reader():
    now = datetime(2026, 5, 1, tzinfo=UTC)
    seen = {
        "s000000": (now - timedelta(days=3)).isoformat(),
        "s000001": (now - timedelta(days=40)).isoformat(),
    }
    made = draw_blind_plan(exhibits(), "Ann", 1, last_seen=seen, washout_days=28, now=now)
    assert made.refused == ("s000000",)
    assert "s000001" in [s.exhibit.name for s in made.secrets]
    every = {e.name: now.isoformat() for e in exhibits() if e.kind != "distractor"}
    with pytest.raises(BadInput, match="no synthetic volume to show, 6 were seen less than 28"):
        draw_blind_plan(exhibits(), "Ann", 1, last_seen=every, washout_days=28, now=now)
    with pytest.raises(BadInput, match="no validation volume"):
        draw_blind_plan(exhibits(6, 0), "Ann", 1)


def test_answer_reveal_and_second_decision(store):
    made = draw_blind_plan(exhibits(), "Ann", 1)
    reading = BlindSession(made, store, loads)
    with pytest.raises(BadInput, match="decide first"):
        reading.reveal(1)
    assert (
        reading.answer(1, "copy", confidence=4, seconds=12.5, evidence={"layout": "pair"}) is None
    )
    assert reading.progress == (1, len(made.cases))
    assert reading.find_next().number == 2
    with pytest.raises(BadInput, match="not revealed yet"):
        reading.decide_again(1, "not a copy")
    assert reading.undo() == 1
    assert reading.redo() == 1
    one = made.secrets[0].exhibit
    revealed = reading.reveal(1)
    assert (revealed.name, revealed.partner, revealed.answer) == (
        one.name,
        one.partner.name,
        "copy",
    )
    assert one.name in str(revealed)
    # From now on the blind answer stands as it is.
    assert reading.undo() is None
    with pytest.raises(BadInput, match="was revealed"):
        reading.answer(1, "unsure")
    reading.decide_again(1, "not a copy", confidence=5)
    reading.reveal(1)
    events = store.history()
    assert [e.decision for e in events] == [
        "copy",
        "withdrawn",
        "copy",
        EventKind.REVEALED,
        "not a copy",
    ]
    assert [e.stage for e in events] == ["blind"] * 3 + ["revealed"] * 2
    assert {e.sample for e in events} == {one.name}
    assert events[0].evidence == {
        "blind": True,
        "case": 1,
        "layout": "pair",
        "plan": made.sha256,
        "plan_id": made.id,
    }
    assert store.current(stage="blind")[one.name].decision == "copy"
    assert store.current()[one.name].decision == "not a copy"
    assert audit_store(store).intact


def test_a_session_goes_on_after_the_window_was_closed(store):
    made = draw_blind_plan(exhibits(), "Ann", 1)
    BlindSession(made, store, loads).answer(1, "unsure")
    again = BlindSession(made, store, loads)
    assert again.find_next().number == 2
    again.answer(3, "copy")
    assert again.progress == (2, len(made.cases))
    assert again.undo() == 3
    # Another plan of the same samples knows nothing of these answers.
    other = BlindSession(draw_blind_plan(exhibits(), "Ann", 2), store, loads)
    assert other.progress[0] == 0
    assert other.undo() is None


def test_a_plan_may_reveal_at_the_end_only(store):
    made = draw_blind_plan(exhibits(1, 1), "Ann", 1, reveal="end")
    reading = BlindSession(made, store, loads)
    reading.answer(1, "copy")
    with pytest.raises(BadInput, match="1 are left"):
        reading.reveal(1)
    reading.answer(2, "not a copy")
    assert reading.find_next() is None
    kinds = {reading.reveal(number).kind for number in (1, 2)}
    assert kinds == {"synthetic", "distractor"}


def test_a_forced_choice_is_recorded_as_what_the_synthetic_one_was_taken_for(store):
    made = draw_blind_plan(exhibits(), "Ann", 1, forced_choice=True)
    reading = BlindSession(made, store, loads)
    side = made.secrets[0].synthetic
    other = {"A": "B", "B": "A"}[side]
    reading.answer(1, other, confidence=2)
    assert store.history()[-1].decision == "synthetic"
    assert reading.reveal(1).answer == f"{other} is real"
    reading.answer(2, made.secrets[1].synthetic)
    assert store.history()[-1].decision == "real"
    with pytest.raises(BadInput, match="one of A, B"):
        reading.answer(3, "copy")
    assert store.current() == {}


def test_plans_on_disk_are_whole_and_changes_show(tmp_path, store):
    made = draw_blind_plan(exhibits(), "Ann", 1, forced_choice=True)
    path = save_plan(made, tmp_path / "blind")
    assert path.stem == made.id
    assert load_plan(path) == made
    assert load_plans(tmp_path / "blind") == [made]
    assert load_plans(tmp_path / "none") == []
    value = json.loads(path.read_text())
    value["plan"]["secrets"][0]["synthetic"] = "A"
    value["plan"]["secrets"][1]["synthetic"] = "A"
    value["plan"]["secrets"][2]["synthetic"] = "A"
    value["plan"]["secrets"][3]["synthetic"] = "A"
    path.write_text(json.dumps(value))
    with pytest.raises(BadInput, match="changed after it was made"):
        load_plan(path)
    path.write_text("{}")
    with pytest.raises(BadInput, match="no plan of a blind study"):
        load_plan(path)
    # Changed with its hash: the answers in the chain still name the first one.
    BlindSession(made, store, loads).answer(1, "A")
    forged = replace(made, secrets=made.secrets[::-1])
    with pytest.raises(BadInput, match="changed after answers were given"):
        BlindSession(forged, store, loads)
