"""The stages of a trial: what each step cost, as if it had been done alone, and what of that was really spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from harness.machine.measure import Measurement, meter
from harness.machine.progress import Progress
from harness.method.checkpoint import Checkpoint
from harness.method.memo import Savings
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.record import Stage


class Stages:
    """Measures the stages of one trial.

    Args:
        device: Where the network runs.
        savings: Tells what was saved by using results of other trials.
        progress: Hears of every stage.

    Attributes:
        rows: The stages for the record, in order.
    """

    def __init__(self, device: torch.device, savings: Savings, progress: Progress) -> None:
        self._device = device
        self._savings = savings
        self._progress = progress
        self.rows: list[Stage] = []

    def apart(self) -> Stages:
        """The same measure with rows of its own, for what must not appear in the record."""
        return Stages(self._device, self._savings, self._progress)

    @contextmanager
    def stage(
        self, name: str, images: int = 0, model: QuantizedModel | None = None, checkpoint: Checkpoint | None = None
    ) -> Iterator[dict[str, Any]]:
        """Measure a block as one stage; yields the dictionary of its notes.

        Args:
            name: Of the stage.
            images: Images of one pass; 0 for a stage without passes.
            model: Counts the images that go through the network; None for a stage without passes.
            checkpoint: Knows what the stage cost before an interruption.
        """
        notes: dict[str, Any] = {}
        self._progress.stage(name)
        before = model.image_forwards if model is not None else 0.0
        saved, saved_images = self._savings.seconds, self._savings.image_forwards
        measured = Measurement()
        try:
            with meter(self._device) as measured:
                yield notes
        finally:
            saved, saved_images = self._savings.seconds - saved, self._savings.image_forwards - saved_images
            forwards = model.image_forwards - before if model is not None and images else 0.0
            self._add(name, images, notes, measured, (saved, saved_images), forwards, checkpoint or Checkpoint())

    def _add(
        self,
        name: str,
        images: int,
        notes: dict[str, Any],
        measured: Measurement,
        saved: tuple[float, float],
        forwards: float,
        checkpoint: Checkpoint,
    ) -> None:
        seconds = measured.seconds + saved[0] + checkpoint.earlier_seconds
        forwards += saved[1] + checkpoint.earlier_forwards
        if checkpoint.earlier_seconds:
            notes["seconds_before_interruption"] = round(checkpoint.earlier_seconds, 4)
        self.rows.append(
            {
                "name": name,
                "seconds": round(seconds, 4),
                "shared_seconds": round(saved[0], 4),
                "forward_passes": round(forwards / images, 4) if images else 0.0,
                "image_forwards": round(forwards, 2),
                "shared_image_forwards": round(saved[1], 2),
                "peak_memory_bytes": measured.peak_memory_bytes,
                "notes": notes,
            }
        )

    def reuse(self, stages: list[Stage], prefix: str, machine: dict[str, Any]) -> None:
        """Add the stages of another trial: their cost stays, marked as not spent here."""
        origin = {"prefix": prefix, "commit": machine.get("commit"), "device": machine.get("device")}
        for stage in stages:
            shared = {"shared_seconds": stage["seconds"], "shared_image_forwards": stage["image_forwards"]}
            self.rows.append(cast(Stage, {**stage, **shared, "notes": {**stage["notes"], "reused": origin}}))
