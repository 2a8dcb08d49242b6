"""What the lists of the page name more than once, each once: networks, stacks, settings of boards, texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, Generic, TypeVar

from harness.leaderboard.board.boards import Board, Network, Recipe
from harness.leaderboard.board.grouping import Setting
from harness.leaderboard.board.labels import told_apart

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
        """For JSON. Labels are distinct: names that several share get what tells them apart, here over all boards."""
        stacks, networks, settings = self.stacks.items, self.networks.items, self.settings.items
        of_stacks = told_apart([one.stack for one in stacks], [one.parts() for one in stacks])
        of_networks = told_apart([one.model for one in networks], [one.parts() for one in networks])
        titles = [one.title.removeprefix(f"{one.bits}, ") for one in settings]
        return {
            "networks": [
                {
                    "label": label,
                    "model": one.model,
                    "published": one.published.name,
                    "weights": one.weights,
                    "preprocessing": one.preprocessing,
                }
                for one, label in zip(networks, of_networks, strict=True)
            ],
            "stacks": [
                {"label": label, "stack": one.stack, "protocol": one.protocol, "methods": json.loads(one.methods or "[]")}
                for one, label in zip(stacks, of_stacks, strict=True)
            ],
            "settings": told_apart(titles, [one.setting.parts() if one.setting else {} for one in settings]),
            "texts": self.texts.items,
        }


def setting(board: Board) -> Setting | None:
    """What a board was measured under: everything but its bit-width."""
    return None if board.setting is None else replace(board.setting, bits="")
