"""Interrupted searches: a method's state after each finished block, so that it can go on there with the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.machine import measure
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import restore, state_of
from harness.store.artifacts import Artifact

LONGEST_WAIT = 600.0  # where writing fails: a full disk must not fill the log too
WRITE_SECONDS = 2.0  # between two writes: a block of a small network takes less time than a write to a network disk
MODEL, OWN = "model/", "own/"


class Checkpoint:
    """State of one step of a stack.

    Args:
        path: File; None keeps nothing.
        cost: Seconds and image forwards that the step took so far.
        root: The store that the file belongs to, if any.
    """

    def __init__(
        self,
        path: Path | None = None,
        cost: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0),
        root: Path | None = None,
    ) -> None:
        self._artifact = None if path is None else Artifact(path, root)
        self._cost = cost
        self._written = time.monotonic()
        self._wait = WRITE_SECONDS
        self._pending: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.earlier_seconds = 0.0
        self.earlier_forwards = 0.0

    def resume(self, model: QuantizedModel) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Restore the model's state as it was after the last finished block.

        Returns:
            The facts and tensors given to ``block_done``, or None when nothing was kept.
        """
        if self._artifact is None or not self._artifact.exists:
            return None
        before = state_of(model)

        def use(tensors: dict[str, Tensor], about: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
            if about["commit"] != measure.COMMIT:  # other code might not go on where this code would
                raise ValueError(f"written by commit {about['commit']}, this is {measure.COMMIT}")
            restore(model, _part(tensors, MODEL), about["model"])
            self.earlier_seconds, self.earlier_forwards = about["seconds"], about["image_forwards"]
            return about["own"], _part(tensors, OWN)

        kept = self._artifact.load(use)
        if kept is None:
            restore(model, *before)
            self.earlier_seconds = self.earlier_forwards = 0.0
        return kept

    def block_done(self, model: QuantizedModel, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep the state after a block: in memory at once, on disk when the last write is some seconds ago.

        Args:
            model: The model; its quantizers are immutable, so that keeping them costs nothing.
            facts: Plain JSON values that the method needs to go on.
            tensors: Likewise, tensors that nobody changes in place.
        """
        if self._artifact is None:
            return
        own, about = state_of(model)
        seconds, forwards = self._cost()
        merged = {MODEL + name: tensor for name, tensor in own.items()}
        merged |= {OWN + name: tensor for name, tensor in tensors.items()}
        costs = {"seconds": self.earlier_seconds + seconds, "image_forwards": self.earlier_forwards + forwards}
        self._pending = merged, {"model": about, "own": facts, "commit": measure.COMMIT, **costs}
        if time.monotonic() - self._written >= self._wait:
            self.flush()

    def flush(self) -> None:
        """Write what is kept in memory; called too when the process is told to stop.

        Where that is not possible a warning says so, the last state that was written stays, and the next attempt is later.
        """
        pending, self._pending = self._pending, None
        if pending is None or self._artifact is None:
            return
        saved = self._artifact.save(*pending)
        self._wait = WRITE_SECONDS if saved else min(2 * self._wait, LONGEST_WAIT)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget the state: the step is finished."""
        self._pending = None
        if self._artifact is not None:
            self._artifact.remove()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
