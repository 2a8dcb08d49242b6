"""Work that several trials of one process need: done once, with its cost kept for each record that uses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.machine.memory import Kept

T = TypeVar("T")
# Bytes of segment inputs that stay in memory between trials; everything else that is kept is needed by any trial anyway.
OPTIONAL_BYTES = 2 * 2**30


@dataclass(frozen=True)
class _Result:
    """A value and what it cost."""

    value: Any
    seconds: float
    image_forwards: float


@dataclass
class Savings:
    """What uses of kept results would have cost: seconds, and images through the network."""

    seconds: float = 0.0
    image_forwards: float = 0.0

    def add(self, seconds: float, image_forwards: float) -> None:
        """Count one use."""
        self.seconds += seconds
        self.image_forwards += image_forwards


class Memo:
    """Keeps the newest results of each kind in memory.

    Args:
        savings: Hears of every use of a kept result.
    """

    def __init__(self, savings: Savings | None = None) -> None:
        self.savings = savings or Savings()
        self._kinds: dict[str, tuple[Hashable, dict[Hashable, _Result]]] = {}

    def once(
        self,
        kind: str,
        key: Hashable,
        compute: Callable[[], T],
        *,
        part: Hashable = 0,
        forwards: Callable[[], float] = float,
        optional: bool = False,
    ) -> T:
        """The result of ``compute``, from memory when it was computed for the same key before.

        Args:
            kind: What it is; results of another key of the same kind are dropped first, to bound memory.
            key: Identity of everything the result depends on.
            compute: Makes it.
            part: Tells apart several results of one key.
            forwards: Reads the model's counter of images, to know what ``compute`` cost.
            optional: Do not keep ``Kept`` tensors beyond ``OPTIONAL_BYTES`` of memory.
        """
        present, parts = self._kinds.get(kind, (None, {}))
        if present != key:
            self._kinds.pop(kind, None)
            parts = {}
        if part in parts:
            found = parts[part]
            self.savings.add(found.seconds, found.image_forwards)
            return found.value  # type: ignore[no-any-return]
        started, counted = time.perf_counter(), forwards()
        value = compute()
        result = _Result(value, time.perf_counter() - started, forwards() - counted)
        held = sum(_bytes(other.value) for other in parts.values()) + _bytes(value) if optional else 0
        if held <= OPTIONAL_BYTES:
            self._kinds[kind] = (key, {**parts, part: result})
        return value


def _bytes(value: object) -> int:
    return value.nbytes if isinstance(value, Kept) else 0
