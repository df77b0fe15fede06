"""Changing some keys of a recipe, by dotted names such as rpn.channels or stages.0.lr."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from wheatear.errors import InputError
from wheatear.train.recipe import Recipe, validated

OPTION = "--set"
EXAMPLE = "stages.0.epochs=5"


def with_options(recipe: Recipe, options: Sequence[str]) -> Recipe:
    """A recipe with the values of `--set KEY=VALUE` options; the last one for a key wins.

    A value is written as in a recipe's file; what is not valid TOML is text, which thus needs no quotes.
    Raises InputError for an option without =, a key that the recipe lacks, and a value that is not allowed.
    """
    if not options:
        return recipe
    try:
        content = changed(recipe.model_dump(mode="json"), dict(map(_read, options)))
    except InputError as error:
        raise InputError(f"{OPTION} {error}") from None
    return validated(content, f"recipe {recipe.name} with {OPTION}")


def changed(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a dumped recipe, which has every key, with new values at dotted keys.

    Raises InputError for a key that does not exist, listing those that do.
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
    """The key of a table, or index of a list, to which a part of a dotted key refers; InputError if none."""
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
