"""Which of our rows stands for a published experiment: one at most, however many settings of it were measured."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.leaderboard.board.boards import Board, Network, Recipe
from harness.text import split_outside

# Settings that make another method of a method; all others are of effort, or refine the same procedure.
OTHER_METHOD = ("sequential", "levit", "lis", "loss", "formula", "optimizer", "inputs", "form")
SAME_METHOD = ("paper", "release", "short")  # presets; every other one is a variant of its own
_STEP = re.compile(r"(?P<name>[^(]*)(?:\((?P<settings>.*)\))?", re.DOTALL)


def methods_of(stack: str) -> tuple[str, ...]:
    """The methods of a stack with only those settings that make another method of it."""
    return tuple(map(_method, split_outside(stack, "+")))


def _method(step: str) -> str:
    found = _STEP.fullmatch(step.strip())
    if found is None:
        return step
    kept = [text for text in split_outside(found["settings"] or "") if _is_kept(*text.partition("=")[::2])]
    return f"{found['name']}({','.join(sorted(kept))})" if kept else found["name"]


def _is_kept(name: str, value: str) -> bool:
    return name.strip() in OTHER_METHOD or (name.strip() == "preset" and value.strip() not in SAME_METHOD)


def stands_for(stack: str, recipes: Iterable[Recipe]) -> Recipe | None:
    """The row that stands for an experiment: its very stack, else the same methods with the fewest settings.

    Accuracy has no say in the choice. Of several versions it is the newest. None where no row has its methods.

    Args:
        stack: Of the experiment, in canonical form.
        recipes: What was measured.
    """
    methods = methods_of(stack)
    same = [one for one in recipes if one.stack == stack or methods_of(one.stack) == methods]
    return min(same, key=lambda one: _distance(stack, one), default=None)


def _distance(stack: str, recipe: Recipe) -> tuple[object, ...]:
    newest = tuple(-int(version) for version in recipe.versions.split(".") if version.isdigit())
    settings = recipe.stack.count("=")
    return recipe.stack != stack, settings, recipe.stack, -(recipe.identity_version or 0), newest, recipe.methods


def measured(board: Board, network: Network) -> list[Recipe]:
    """The rows of a column that may stand for a publication: those that saw no evaluation image, of networks not altered."""
    if board.setting is not None and board.setting.mark:
        return []
    return [
        recipe
        for (recipe, other), cell in board.cells.items()
        if other == network and recipe.protocol == "strict" and not cell.overlap
    ]
