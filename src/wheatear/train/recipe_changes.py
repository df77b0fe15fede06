"""Other values for some keys of a recipe, by dotted names such as rpn.channels or stages.0.lr."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from wheatear.errors import InputError
from wheatear.train.recipe import Recipe, validated

OPTION = "--set"
EXAMPLE = "stages.0.epochs=5"


def with_options(recipe: Recipe, options: Sequence[str]) -> Recipe:
    """A recipe with the values of `--set KEY=VALUE` options, the last of a key.

    A value is what it would be in a recipe's file; what is no TOML there is text, which so needs no quotation marks.
    InputError for an option without =, a key that the recipe has not, and a value that it may not have.
    """
    if not options:
        return recipe
    try:
        content = changed(recipe.model_dump(mode="json"), dict(map(_read, options)))
    except InputError as error:
        raise InputError(f"{OPTION} {error}") from None
    return validated(content, f"recipe {recipe.name} with {OPTION}")


def changed(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe as it is dumped, which has every key, with other values at dotted keys.

    InputError for a key that is not there, saying which are.
    """
    copy: dict[str, Any] = json.loads(json.dumps(recipe))
    for key, value in changes.items():
        *path, last = key.split(".")
        table: Any = copy
        for part in path:
            table = table[_place(table, part, key)]
        table[_place(table, last, key)] = value
    return copy


def _place(table: object, part: str, key: str) -> str | int:
    """Where a part of a key lies in a table, or in a list by its number."""
    if isinstance(table, dict) and part in table:
        return part
    if isinstance(table, list) and part.isdecimal() and int(part) < len(table):
        return int(part)
    there = table if isinstance(table, dict) else range(len(table)) if isinstance(table, list) else ()
    raise InputError(
        f"{key}: no such key in the recipe; in the place of {part} it has {', '.join(map(str, there)) or 'a value'}"
    )


def _read(option: str) -> tuple[str, Any]:
    key, equals, text = option.partition("=")
    if not equals:
        raise InputError(f"{option}: give KEY=VALUE, such as {EXAMPLE}")
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        table = {}
    return key.strip(), table["value"] if table.keys() == {"value"} else text.strip()
