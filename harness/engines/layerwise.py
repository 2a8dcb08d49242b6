"""One walk over a network's segments, for every method that works layer after layer.

A method that changes the network from the first segment to the last needs, at each segment, what the segment reads: in
full precision, or in the network quantized so far. These inputs belong to all calibration images and may be larger than
memory, so they are computed batch by batch, kept within ``context.budget`` (what does not fit goes to disk and comes back
when it is read) and released as soon as the walk has passed. A method asks for them and does not see any of this::

    images = calibration.images
    with context.progress.task("my method", len(model.segments)) as task:
        for visit in task.track(walk(model, images, context, batch=32)):
            for operation in visit.operations:  # those with a quantized weight
                for x in visit.reads(operation, quantize=True):  # batch by batch
                    ...  # collect what the closed form or the loss needs
                model.rounded_weights[operation.site.name] = ...

The inputs of the next segment are computed after the loop's body, so they contain what the body has changed. With
``full=True`` the walk goes through the full-precision network too, and a visit has ``full``, ``targets`` (the segment's
outputs there), for example for a reconstruction: learn the segment until ``model.run(x, visit.index, visit.index + 1)``
is close to the targets.

What else a method holds for each image should go through the budget as well: ``context.budget.keep(tensors)`` takes a
list or generator of batches, reads one with ``kept[i]`` and picks images with ``kept.select(numbers)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.machine.memory import Budget, Kept
from harness.method.base import Context
from harness.quant.network.chain import Segment
from harness.quant.network.operands import reads
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

Run = Callable[[Tensor, int, int], Tensor]  # a batch, first segment, last segment (exclusive): the output
Reuse = Callable[[int, Callable[[], Kept]], Kept]


class SegmentInputs:
    """What each segment of one network reads, computed when asked for, in fixed batches, within a memory budget.

    Args:
        run: Runs segments of the network on one batch, for example ``model.run`` or ``model.run_full_precision``.
        batches: Inputs of the first segment: images ``(n, c, h, w)``. They belong to the caller and stay in memory.
        budget: Holds all other inputs.
        reuse: Given a segment's index and the computation of its inputs: the same from elsewhere, or the computation's
            result (a memo). Asked until the first change.
    """

    def __init__(self, run: Run, batches: Iterable[Tensor], budget: Budget, reuse: Reuse | None = None) -> None:
        self._run = run
        self._budget = budget
        self._reuse = reuse
        self._known = {0: Kept(batches)}

    @torch.no_grad()
    def __getitem__(self, index: int) -> Kept:
        """Inputs of a segment, batch by batch; the index after the last segment gives the logits.

        Raises:
            LookupError: They were released.
        """
        start = max((known for known in self._known if known <= index), default=None)
        if start is None:
            raise LookupError(f"the inputs of segment {index} are released; the first that are left: {min(self._known)}")
        for segment in range(start, index):
            self._known[segment + 1] = self._outputs(segment)
        return self._known[index]

    def _outputs(self, segment: int) -> Kept:
        def compute() -> Kept:
            return self._budget.keep(self._run(x, segment, segment + 1) for x in self._known[segment])

        return compute() if self._reuse is None else self._reuse(segment + 1, compute)

    def changed(self, segment: int) -> None:
        """Forget what comes after a segment that was changed: it is computed anew when asked for."""
        self._reuse = None
        self._known = {index: inputs for index, inputs in self._known.items() if index <= segment}

    def advance(self, segment: int) -> None:
        """Compute what comes after a segment, unless it is known, and release everything before that."""
        self._known = {segment + 1: self[segment + 1]}


@dataclass(frozen=True)
class Visit:
    """One segment of a walk.

    Attributes:
        model: The network.
        index: The segment's index.
        networks: Inputs of the segments in the networks that the walk goes through: ``full`` and ``quantized``.
    """

    model: QuantizedModel
    index: int
    networks: dict[str, SegmentInputs]

    @property
    def segment(self) -> Segment:
        """The segment."""
        return self.model.segments[self.index]

    @property
    def full(self) -> Kept:
        """What the segment reads in the full-precision network, batch by batch."""
        return self._of("full")[self.index]

    @property
    def targets(self) -> Kept:
        """What the segment gives in the full-precision network, batch by batch."""
        return self._of("full")[self.index + 1]

    @property
    def quantized(self) -> Kept:
        """What the segment reads in the network quantized so far, batch by batch."""
        return self._of("quantized")[self.index]

    @property
    def outputs(self) -> Kept:
        """What the quantized segment gives: as it was when this was first read, or after the last ``changed``."""
        return self._of("quantized")[self.index + 1]

    @property
    def operations(self) -> list[WeightedOperation]:
        """The segment's operations whose weights have a quantizer, in execution order."""
        return self.model.quantized_weights(self.index)

    def reads(self, operation: WeightedOperation, *, quantize: bool) -> Iterator[Tensor]:
        """What one of the segment's operations reads, batch by batch.

        Args:
            operation: The operation.
            quantize: In the quantized network after the operand's quantizer; otherwise in the full-precision network.
        """
        inputs = self.quantized if quantize else self.full
        return reads(self.model, operation, inputs, self.index, quantize=quantize)

    def changed(self) -> None:
        """Tell that the segment was changed after ``outputs`` were read: they are computed anew."""
        self._of("quantized").changed(self.index)

    def _of(self, network: str) -> SegmentInputs:
        if network not in self.networks:
            raise LookupError(f"this walk does not go through the {network} network: walk(..., {network}=True) does")
        return self.networks[network]


def walk(
    model: QuantizedModel,
    images: Tensor,
    context: Context,
    *,
    batch: int,
    full: bool = False,
    quantized: bool = True,
) -> Iterator[Visit]:
    """Visit every segment, from the first to the last.

    After each visit the inputs of the next segment are computed, in every network that the walk goes through, with what
    the visit has changed; inputs of earlier segments are released.

    Args:
        model: The network; the visitor changes it.
        images: ``(n, c, h, w)``.
        context: Its budget bounds the memory of all inputs.
        batch: Images per forward pass.
        full: Go through the full-precision network.
        quantized: Go through the network with its present quantizers and corrections.
    """
    batches = images.split(batch)
    networks: dict[str, SegmentInputs] = {}
    if full:
        networks["full"] = SegmentInputs(model.run_full_precision, batches, context.budget)
    if quantized:
        networks["quantized"] = SegmentInputs(model.run, batches, context.budget)
    for index in range(len(model.segments)):
        yield Visit(model, index, networks)
        for inputs in networks.values():
            inputs.advance(index)
