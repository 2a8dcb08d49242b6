"""What the lists of the page name more than once, each once: networks, stacks, settings of boards, texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from harness.leaderboard.board.boards import Board, Network, Recipe

WITHIN_A_SETTING = {"bits", "networks", "recipes", "cells", "title"}  # all else of a board is what its results were measured under
Item = TypeVar("Item", bound=Hashable)


class Numbered(Generic[Item]):
    """Distinct items with their numbers, in the order in which they were first asked for.

    Args:
        key: What makes two items the same.
    """

    def __init__(self, key: Callable[[Item], Hashable] = lambda item: item) -> None:
        self._key = key
        self._numbers: dict[Hashable, int] = {}
        self.items: list[Item] = []

    def number(self, item: Item) -> int:
        """The number of an item; a new one for a new item."""
        key = self._key(item)
        if key not in self._numbers:
            self._numbers[key] = len(self.items)
            self.items.append(item)
        return self._numbers[key]


class Catalog:
    """Everything that the lists refer to by number.

    Attributes:
        networks: Same weights and preprocessing.
        stacks: Same methods with all settings.
        settings: Boards that differ in nothing but their bit-width.
        texts: Coverage, hardware, origins.
    """

    def __init__(self) -> None:
        self.networks: Numbered[Network] = Numbered(lambda network: replace(network, label=""))
        self.stacks: Numbered[Recipe] = Numbered(lambda recipe: replace(recipe, label=""))
        self.settings: Numbered[Board] = Numbered(setting)
        self.texts: Numbered[str] = Numbered()

    def plain(self) -> dict[str, Any]:
        """For JSON. Labels are distinct: a label that two share gets what tells them apart."""
        stacks, networks = self.stacks.items, self.networks.items
        return {
            "networks": [
                {"label": label, "model": one.model, "weights": one.weights, "preprocessing": one.preprocessing}
                for one, label in zip(networks, distinct([(n.label or n.model, n.weights[:6]) for n in networks]), strict=True)
            ],
            "stacks": [
                {"label": label, "stack": one.stack, "protocol": one.protocol, "methods": steps(one)}
                for one, label in zip(stacks, distinct([(s.label, versions(s)) for s in stacks]), strict=True)
            ],
            "settings": distinct([(board.title.removeprefix(f"{board.bits}, "), "") for board in self.settings.items]),
            "texts": self.texts.items,
        }


def setting(board: Board) -> tuple[Hashable, ...]:
    """What a board was measured under: everything but its bit-width."""
    return tuple(getattr(board, one.name) for one in fields(board) if one.name not in WITHIN_A_SETTING)


def steps(recipe: Recipe) -> list[dict[str, Any]]:
    """Names, versions and settings of a stack's methods."""
    found: list[dict[str, Any]] = json.loads(recipe.methods or "[]")
    return found


def versions(recipe: Recipe) -> str:
    """``method versions 1.2.1, strict``."""
    return f"method versions {'.'.join(str(step.get('version', '?')) for step in steps(recipe)) or '?'}, {recipe.protocol}"


def distinct(labels: list[tuple[str, str]]) -> list[str]:
    """Labels that are not told apart by themselves with what is said behind them, and with a number where that is the same."""
    names = [label for label, _ in labels]
    longer = [f"{label} ({more})" if names.count(label) > 1 and more else label for label, more in labels]
    taken: dict[str, int] = {}
    found = []
    for label in longer:
        taken[label] = taken.get(label, 0) + 1
        found.append(label if taken[label] == 1 else f"{label} ({taken[label]})")
    return found
