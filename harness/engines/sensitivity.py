"""What the quantizer of each site costs: logits with only this one acting, and with all but this one.

A change at a site of segment *i* runs from *i* to the end, on inputs that were computed once: of the network without
quantizers for *leave one in*, of the quantized one for *leave one out*. Both together cost about as many forward passes as
there are quantizers. No labels: logits are compared with those of the full-precision network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from harness.engines.held_out import sqnr_db
from harness.engines.layerwise import SegmentInputs
from harness.machine.memory import Budget
from harness.machine.progress import Task
from harness.quant.format.base import NumberFormat
from harness.quant.network.qmodel import QuantizedModel

Formats = Mapping[str, NumberFormat]
T = TypeVar("T")


@dataclass(frozen=True)
class Distance:
    """How far logits are from those of the full-precision network.

    Attributes:
        sqnr_db: Ratio of signal to error in dB.
        agreement: Percent of the images with the same predicted class.
    """

    sqnr_db: float
    agreement: float


@dataclass(frozen=True)
class BlockNoise:
    """Error of what a segment gives, in dB below the full-precision values.

    Attributes:
        segment: Its name.
        accumulated: In the quantized network: its own error and all that came before.
        own: Of the quantized segment on full-precision inputs.
    """

    segment: str
    accumulated: float
    own: float


@contextmanager
def holding(model: QuantizedModel, formats: Formats) -> Iterator[None]:
    """While the block runs, exactly these quantizers are installed."""
    before = dict(model.quantizers)
    _replace(model.quantizers, formats)
    try:
        yield
    finally:
        _replace(model.quantizers, before)


@contextmanager
def uncorrected(model: QuantizedModel) -> Iterator[None]:
    """While the block runs, biases that were corrected for errors of quantizers and layers beside blocks do not act."""
    shifts, layers = dict(model.bias_shifts), dict(model.compensations)
    _replace(model.bias_shifts, model.transform_shifts)
    _replace(model.compensations, {})
    try:
        yield
    finally:
        _replace(model.bias_shifts, shifts)
        _replace(model.compensations, layers)


def _replace(kept: dict[str, T], now: Mapping[str, T]) -> None:
    found = dict(now)
    kept.clear()
    kept.update(found)


class Sensitivity:
    """Measures a quantized network on images; the network is afterwards what it was.

    Args:
        model: With the quantizers that are judged.
        images: ``(n, c, h, w)``.
        budget: Holds segment inputs.
        batch: Images per forward pass.
    """

    def __init__(self, model: QuantizedModel, images: Tensor, budget: Budget, batch: int = 32) -> None:
        self.model = model
        self.formats = dict(model.quantizers)
        self._batches = images.split(batch)
        self._budget = budget
        with torch.no_grad():
            self.targets = [model.run_full_precision(batch) for batch in self._batches]

    @torch.no_grad()
    def whole(self, formats: Formats) -> Distance:
        """The network with these quantizers and no others."""
        with holding(self.model, formats):
            return self._distance(self.model.run(batch) for batch in self._batches)

    def leave_one_in(self, task: Task) -> dict[str, Distance]:
        """Only the quantizer of one site acts, site by site, and no correction of what the others do."""
        with uncorrected(self.model):
            return self._one_by_one({}, lambda name: {name: self.formats[name]}, task)

    def leave_one_out(self, task: Task) -> dict[str, Distance]:
        """All quantizers but one act, site by site."""
        return self._one_by_one(self.formats, lambda name: _without(self.formats, {name}), task)

    def candidates(self, formats: Mapping[str, list[NumberFormat]], task: Task) -> dict[str, list[float]]:
        """Error of the logits over their energy when one site has one of several formats, and no other site any."""
        changes: dict[str, list[Formats]] = {name: [{name: one} for one in many] for name, many in formats.items()}
        found = self._changes({}, changes, task)
        return {name: [10 ** (-one.sqnr_db / 10) for one in distances] for name, distances in found}

    def group_in(self, names: Iterable[str]) -> Distance:
        """Only the quantizers of these sites act, and no correction of what the others do."""
        with uncorrected(self.model):
            return self.whole({name: self.formats[name] for name in names})

    def group_out(self, names: Iterable[str]) -> Distance:
        """All quantizers but those of these sites act."""
        return self.whole(_without(self.formats, set(names)))

    @torch.no_grad()
    def accumulation(self) -> list[BlockNoise]:
        """Error after each segment; three forward passes."""
        plain = SegmentInputs(self.model.run_full_precision, self._batches, self._budget)
        quantized = SegmentInputs(self.model.run, self._batches, self._budget)
        found = []
        for index, segment in enumerate(self.model.segments):
            own = [self.model.run(x, index, index + 1) for x in plain[index]]
            plain.advance(index)
            quantized.advance(index)
            targets = plain[index + 1]
            found.append(BlockNoise(segment.name, sqnr_db(quantized[index + 1], targets), sqnr_db(own, targets)))
        return found

    def _one_by_one(self, base: Formats, changed: Callable[[str], Formats], task: Task) -> dict[str, Distance]:
        changes = {name: [changed(name)] for name in self.formats}
        return {name: one for name, (one,) in self._changes(base, changes, task)}

    @torch.no_grad()
    def _changes(
        self, base: Formats, changes: Mapping[str, list[Formats]], task: Task
    ) -> Iterator[tuple[str, list[Distance]]]:
        """Distances of changes at one site each, in execution order; ``base`` acts before the site's segment."""
        inputs = SegmentInputs(self.model.run, self._batches, self._budget)
        for index, segment in enumerate(self.model.segments):
            for name in (name for name in segment.sites if name in changes):
                found = []
                for formats in changes[name]:
                    with holding(self.model, formats):
                        found.append(self._distance(self.model.run(x, index) for x in inputs[index]))
                task.advance()
                yield name, found
            with holding(self.model, base):
                inputs.advance(index)

    def _distance(self, outputs: Iterable[Tensor]) -> Distance:
        logits = list(outputs)
        equal = sum(int((a.argmax(1) == b.argmax(1)).sum()) for a, b in zip(logits, self.targets, strict=True))
        return Distance(sqnr_db(logits, self.targets), 100 * equal / sum(map(len, logits)))


def _without(formats: Formats, names: set[str]) -> dict[str, NumberFormat]:
    return {name: one for name, one in formats.items() if name not in names}
