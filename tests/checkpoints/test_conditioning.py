"""Conditions by name: what a recipe may say of them, and which of them a seed draws."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from napari_memscan.checkpoints.conditioning import Conditioning
from napari_memscan.checkpoints.loading import describe_checkpoint
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.checkpoints.recipe import LDMRecipe
from napari_memscan.files import hash_json

SIDES = Conditioning(classes=("left", "right"), shares=(0.5, 0.3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"classes": ("left", "left"), "shares": (0.5, 0.5)}, "each once"),
        ({"classes": ("left", "left"), "shares": (0.5,)}, "each once"),
        ({"classes": ("left", "right"), "shares": (1.0,)}, "with a share"),
        ({"classes": ("left", "right")}, "with a share"),
        ({"shares": (0.5,)}, "with a share"),
        ({"classes": ("left", "right"), "shares": (0.6, 0.5)}, "at most 1"),
        ({"classes": ("left", "right"), "shares": (-0.1, 0.5)}, "greater than or equal to 0"),
        ({"classes": ("left", "right"), "shares": (float("nan"), 0.5)}, "less than or equal"),
        ({"classes": ("left", ""), "shares": (0.5, 0.5)}, "at least 1 character"),
        ({"classes": ("left",), "shares": (1.0,), "class_label": 1}, "one of the two"),
        ({"guidance": 2.0}, "no class_label, classes or context"),
        ({"guidance": 2.0, "spacing": True}, "no class_label, classes or context"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        Conditioning.model_validate(wrong)


def test_labels_begin_at_one_and_nothing_is_none():
    assert [SIDES.label(name) for name in ("left", "right", "", "Left", "up")] == [1, 2, 0, 0, 0]


def test_seeds_draw_conditions_by_their_shares():
    drawn = [SIDES.draw(seed) for seed in range(4000)]
    assert drawn == [SIDES.draw(seed) for seed in range(4000)]
    counted = Counter(drawn)
    assert set(counted) == {"left", "right", ""}
    # Five standard deviations of a share of 4000 are 0.04 at most.
    for name, share in (("left", 0.5), ("right", 0.3), ("", 0.2)):
        assert counted[name] / 4000 == pytest.approx(share, abs=0.04)
    never = Conditioning(classes=("a", "b"), shares=(0.0, 1.0))
    assert {never.draw(seed) for seed in range(500)} == {"b"}
    assert {Conditioning(class_label=3).draw(seed) for seed in range(50)} == {""}


def test_recipes_without_names_keep_the_hash_they_had():
    before = {
        "context": None,
        "names": [],
        "concatenate": False,
        "class_label": 2,
        "spacing": False,
        "regions": None,
        "guidance": 2.5,
        "fill": -1.0,
    }
    told = Conditioning(class_label=2, guidance=2.5)
    assert told.model_dump(mode="json") == before
    assert told.hash == hash_json(before)
    assert SIDES.model_dump(mode="json")["shares"] == [0.5, 0.3]
    assert Conditioning.model_validate_json(SIDES.model_dump_json()) == SIDES


def test_a_recipe_needs_a_denoiser_with_a_class_more_than_names(conditional_ldm):
    recipe = json.loads((conditional_ldm / "recipe.json").read_text())
    assert LDMRecipe.model_validate(recipe) == read_recipe(conditional_ldm)
    for known in (None, 2, 4):
        denoiser = {**recipe["denoiser"], "num_class_embeds": known}
        with pytest.raises(ValidationError, match="num_class_embeds must be 3"):
            LDMRecipe.model_validate({**recipe, "denoiser": denoiser})
    del recipe["denoiser"]["num_class_embeds"]
    with pytest.raises(ValidationError, match="num_class_embeds must be 3"):
        LDMRecipe.model_validate(recipe)


def test_what_a_model_knows_is_said(conditional_ldm, tiny_ldm):
    assert "knows left, right" in describe_checkpoint(conditional_ldm)
    assert "knows" not in describe_checkpoint(tiny_ldm)
