"""`wheatear train --set`: other values for keys of a recipe."""

import pytest

from tiny_recipe import tiny_recipe
from wheatear.errors import InputError
from wheatear.train.recipe import load_recipe
from wheatear.train.recipe_changes import changed, with_options


def complaint(*options: str) -> str:
    with pytest.raises(InputError) as caught:
        with_options(tiny_recipe(), options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_are_those_of_a_recipes_file():
    recipe = with_options(
        load_recipe("blend"),
        [
            "image_size=736",
            "stages.0.lr=2e-4",
            "stages.0.augment.scale=[0.6, 1.5]",
            "stages.0.both = false",
            "backbone.name=resnet18",
            'backbone.weights="a file = this"',
        ],
    )
    assert recipe.image_size == 736
    assert recipe.backbone.name == "resnet18"
    assert recipe.backbone.weights == "a file = this"
    (stage,) = recipe.stages
    assert (stage.lr, stage.augment.scale, stage.both) == (2e-4, (0.6, 1.5), False)
    assert recipe == recipe.model_validate(recipe.model_dump(mode="json"))


def test_only_what_is_named_changes():
    recipe = load_recipe("small")
    assert with_options(recipe, []) == recipe
    assert with_options(recipe, ["rpn.channels=64"]).model_dump() == recipe.model_dump() | {
        "rpn": recipe.rpn.model_dump() | {"channels": 64}
    }


def test_the_last_value_of_a_key_counts():
    assert with_options(load_recipe("small"), ["seed=1", "seed=2"]).seed == 2


def test_text_with_a_line_break_sets_nothing_else():
    assert with_options(load_recipe("small"), ["name='a'\nseed = 5"]).seed == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("lr", "--set lr: give KEY=VALUE"),
        ("roi.chanels=96", "--set roi.chanels: no such key in the recipe; in the place of chanels it has"),
        ("stages.1.lr=1e-4", "in the place of 1 it has 0"),
        ("stages.lr=1e-4", "in the place of lr it has 0"),
        ("seed.x=1", "in the place of x it has a value"),
        ("=1", "no such key in the recipe"),
        ("stages.0.lr=fast", "with --set: stages.0.joint.lr: "),
        ("stages.0.epochs=true", "with --set: stages.0.joint.epochs: "),
        ("stages.0.augment.scale=[true, 2]", "with --set: stages.0.joint.augment.scale.0: "),
        ("rpn=3", "with --set: rpn: "),
    ],
)
def test_a_bad_option_says_what_is_wrong(option, words):
    assert words in complaint(option)


def test_what_is_changed_is_a_copy():
    recipe = {"stages": [{"lr": 1.0}], "seed": 0}
    assert changed(recipe, {"stages.0.lr": 2.0}) == {"stages": [{"lr": 2.0}], "seed": 0}
    assert recipe["stages"] == [{"lr": 1.0}]
