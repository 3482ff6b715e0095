"""Where sources have names, one source more changes few of the planted volumes."""

from __future__ import annotations

from napari_memscan.detection.planting.plants import draw_planted_volumes

SHAPE = (16, 16, 16)
NAMES = [f"volume {i}" for i in range(30)]


def planted(names, n=8, seed=1):
    plants = draw_planted_volumes(["rotation"], n, range(len(names)), SHAPE, (seed, 1), names=names)
    return [(names[one.source], one.perturbation) for one in plants]


def test_one_source_more_replaces_one_plant_by_its_own_or_none():
    taken = 0
    for i in range(len(NAMES)):
        others = NAMES[:i] + NAMES[i + 1 :]
        before, after = set(planted(others)), set(planted(NAMES))
        new = {name for name, _ in after - before}
        assert len(before - after) == len(new)
        assert new <= {NAMES[i]}
        taken += bool(new)
    assert taken == 8
    assert planted(NAMES[::-1]) == planted(NAMES)
    assert planted(NAMES, seed=2) != planted(NAMES)


def test_nobody_is_taken_twice_before_all_were_and_never_in_the_same_way():
    names = [*NAMES[:3], NAMES[0]]  # two files of one content
    plants = draw_planted_volumes(["rotation"], 9, range(4), SHAPE, (1, 1), names=names)
    assert sorted(one.source for one in plants[:4]) == [0, 1, 2, 3]
    assert len({one.perturbation for one in plants}) == 9
