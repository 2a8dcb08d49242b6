"""Search of scales layer by layer on a grid of factors, weights and operands in turn: PTQ4ViT, EasyQuant, PTQ-for-ViT.

Every convolution, linear operation and matrix product is searched on its own: the scale of one side goes over the grid
while the other side is quantized as it is, and the one whose output comes closest is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.engines.layer_grids import HEADS, LayerSearchSettings, grid_of, groups_of, operand_start, weight_start
from harness.baselines.engines.output_scores import RankedRows, pearson
from harness.baselines.engines.segment_operations import (
    Operation,
    is_scores,
    observe,
    operations_of,
    output_gradients,
    output_of,
)
from harness.engines.layerwise import Visit, walk
from harness.machine.memory import Kept
from harness.method.base import Context
from harness.quant.calibrate.installation import FLOAT_BITS
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class _Seen:
    """What one operation read and gave, all images in one batch, and what its output is judged by besides."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    squared_gradient: Tensor | None = None
    ranked: RankedRows | None = None


@torch.no_grad()
def search_layers(model: QuantizedModel, images: Tensor, settings: LayerSearchSettings, context: Context) -> None:
    """Install quantizers on all weights and operands, one segment after the other.

    What segments, and the operations of one segment, read and give is kept within the context's budget. The inputs and
    the output of the one operation that is searched are in memory together: a score compares all images at once.

    Args:
        model: The network without quantizers.
        images: Calibration images, in one batch.
        settings: How to search.
        context: The step's context.
    """
    searcher = _Searcher(model, settings, context)
    if settings.score == "hessian" and settings.gradient == "quantized":
        searcher.install_ranges(images)
    logits = context.budget.keep([model.full_precision(images)])
    total = sum(len(operations_of(segment.module)) for segment in model.segments)
    with context.progress.task("layer search", total) as task:
        for visit in walk(model, images, context, batch=len(images), full=True, quantized=settings.sequential):
            gradients = searcher.gradients(visit, logits[0]) if settings.score == "hessian" else {}
            seen = searcher.seen(visit)
            for name, operation in operations_of(visit.segment.module).items():
                searcher.search(operation, searcher.operands(visit, name, seen.pop(name), gradients.pop(name, None)))
                task.advance()


class _Searcher:
    """Searches one operation after the other."""

    def __init__(self, model: QuantizedModel, settings: LayerSearchSettings, context: Context) -> None:
        self.model = model
        self.settings = settings
        self.context = context
        self.generator = context.generator("layer search")
        self._first: dict[str, NumberFormat] = {}

    def install_ranges(self, images: Tensor) -> None:
        """Min-max quantizers everywhere: where the gradient of the quantized network is taken."""
        for visit in walk(self.model, images, self.context, batch=len(images), full=True, quantized=False):
            for name, found in self.seen(visit).items():
                self._start(operations_of(visit.segment.module)[name], _Seen((*found[:-1],), found[-1]))

    def seen(self, visit: Visit) -> dict[str, Kept]:
        """Inputs and output of each of a segment's operations in full precision."""
        operations, (x,) = operations_of(visit.segment.module), visit.full
        run = self.model.run_full_precision
        return observe(operations, lambda: run(x, visit.index, visit.index + 1), self.context.budget)

    def operands(self, visit: Visit, name: str, full: Kept, gradient: Kept | None) -> _Seen:
        """What the search of one operation compares, read back into memory."""
        inputs, output = full[:-1], full[-1]
        operation = operations_of(visit.segment.module)[name]
        if self.settings.sequential:
            (x,) = visit.quantized
            inputs = observe(
                {name: operation}, lambda: self.model.run(x, visit.index, visit.index + 1), self.context.budget
            )[name][:-1]
        squared = None if gradient is None else torch.cat(list(gradient)).square()
        return _Seen((*inputs,), output, squared, self._ranked(operation, output))

    def gradients(self, visit: Visit, logits: Tensor) -> dict[str, Kept]:
        """Gradients of the prediction's divergence with respect to the outputs of a segment's operations."""
        vectors = torch.randn(logits.shape, generator=self.generator).to(logits.device)
        (x,) = visit.full

        def loss(here: slice) -> Tensor:
            leaf = x[here].clone().requires_grad_(True)
            if self.settings.gradient == "random":
                return (self.model.run_full_precision(leaf, visit.index) * vectors[here]).sum()
            output = F.log_softmax(self.model.run(leaf, visit.index), dim=1)
            return F.kl_div(output, F.log_softmax(logits[here], dim=1), reduction="sum", log_target=True)

        size = self.settings.batch
        parts = [partial(loss, slice(start, start + size)) for start in range(0, len(x), size)]
        return output_gradients(operations_of(visit.segment.module), parts, self.context.budget)

    def search(self, module: Operation, seen: _Seen) -> None:
        """Search the scales of one operation and install its quantizers."""
        sides = self._start(module, seen)
        for _ in range(self.settings.rounds):
            before = [self.model.quantizers[side].scale for side in sides]
            for side in sides:
                self._improve(module, seen, side)
            if self.settings.correct_bias and sides and isinstance(module, WeightedOperation):
                self._correct_bias(module, seen)
            if all(torch.equal(self.model.quantizers[side].scale, scale) for side, scale in zip(sides, before, strict=True)):
                break

    def _ranked(self, module: Operation, output: Tensor) -> RankedRows | None:
        """The order of a product of queries and keys; its rows are compared as they are before any scaling."""
        if self.settings.ranking is None or isinstance(module, WeightedOperation) or not is_scores(self.model, module):
            return None
        left, right = module.reads
        return RankedRows(output, left.route.factor * right.route.factor, self.settings.ranking)

    def _correct_bias(self, module: WeightedOperation, seen: _Seen) -> None:
        error = output_of(self.model, module, seen.inputs) - seen.output
        channel = 1 if module.weight.ndim > 2 else error.ndim - 1
        self.model.shift_bias(module.node, -channel_rows(error, channel).double().mean(dim=1).to(error.dtype))

    def _start(self, module: Operation, seen: _Seen) -> list[str]:
        """Min-max quantizers; returns the names of those that are searched, weights first."""
        names: list[str] = []
        bits, placement = self.context.bits, self.settings.placement
        if isinstance(module, WeightedOperation):
            if (width := bits.at(module.site).weight) < FLOAT_BITS:
                self.model.quantizers[module.site.name] = weight_start(module, width, self.settings)
                names.append(module.site.name)
            operands = [(module.operand, seen.inputs[0])]
        else:
            operands = [(module.left.name, seen.inputs[0]), (module.right.name, seen.inputs[1])]
        for name, x in operands:
            site = self.model.sites[name]
            width = placement.width(site, bits) if placement.selects(site) else FLOAT_BITS
            if width < FLOAT_BITS:
                product = not isinstance(module, WeightedOperation) and x.ndim == 4
                heads = product and self.settings.apart and not placement.deployed
                self.model.quantizers[name] = operand_start(site, x, width, self.settings.twin, heads=heads)
                names.append(name)
        return names

    def _improve(self, module: Operation, seen: _Seen, name: str) -> None:
        start = self.model.quantizers[name]
        groups = 1
        if isinstance(module, WeightedOperation) and name == module.site.name:
            groups = groups_of(module, self.settings)
        if start.axis == HEADS and not isinstance(module, WeightedOperation):
            groups = start.scale.numel()
        first = self._first.setdefault(name, start)
        candidates = grid_of(first, self.settings)
        scores = torch.stack([self._score(module, seen, name, candidate, groups) for candidate in candidates])
        best = scores.argmax(dim=0)
        if groups == 1:
            self.model.quantizers[name] = candidates[int(best)]
            return
        scales = torch.stack([candidate.scale for candidate in candidates])  # (candidates, channels)
        chosen = best.repeat_interleave(scales.shape[1] // groups)
        self.model.quantizers[name] = replace(first, scale=scales.gather(0, chosen[None])[0])

    def _score(self, module: Operation, seen: _Seen, name: str, candidate: NumberFormat, groups: int) -> Tensor:
        """How close the output of each group comes to full precision with a candidate, ``(groups,)``."""
        output = self._output(module, seen, name, candidate)
        heads = groups > 1 and not isinstance(module, WeightedOperation)
        convolution = isinstance(module, WeightedOperation) and module.weight.ndim > 2

        def grouped(x: Tensor) -> Tensor:
            return x.movedim(HEADS, 0) if heads else _grouped(x, 1 if convolution else x.ndim - 1, groups)

        want, got = grouped(seen.output), grouped(output)
        if self.settings.score != "hessian" and want.shape[-1] == 1:
            # One channel: compare its positions, a single number has neither direction nor spread.
            want, got = want.flatten(1)[:, None], got.flatten(1)[:, None]
        if self.settings.score == "cosine":
            similarity: Tensor = F.cosine_similarity(want, got, dim=-1)
            return similarity.flatten(1).double().mean(dim=1)
        if self.settings.score == "pearson":
            correlation = pearson(want.flatten(2), got.flatten(2)).mean(dim=1)
            return correlation if seen.ranked is None else correlation - seen.ranked.loss(output)
        error = (want - got).square_()
        if seen.squared_gradient is not None:
            error *= grouped(seen.squared_gradient)
        return -error.flatten(1).sum(dim=1, dtype=torch.float64)

    def _output(self, module: Operation, seen: _Seen, name: str, candidate: NumberFormat) -> Tensor:
        """The operation's output with a candidate; a split of the softmax meets values in floating point, as released."""
        quantizers = self.model.quantizers
        quantizers[name] = candidate
        if not (isinstance(candidate, TwinSoftmax) and candidate.summed) or isinstance(module, WeightedOperation):
            return output_of(self.model, module, seen.inputs)
        other = module.right.name if name == module.left.name else module.left.name
        aside = quantizers.pop(other, None)
        output = output_of(self.model, module, seen.inputs)
        if aside is not None:
            quantizers[other] = aside
        return output


def _grouped(x: Tensor, channel: int, groups: int) -> Tensor:
    """``(groups, everything else, channels of the group)``."""
    split: Tensor = x.movedim(channel, -1).unflatten(-1, (groups, -1))
    return split.movedim(-2, 0)
