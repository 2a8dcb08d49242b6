"""Search of scales layer by layer, the engine of PTQ4ViT and EasyQuant: weights and operands in turn, on a grid of factors.

Every convolution, linear operation and matrix product is searched on its own: the scale of one side goes over the grid
while the other side is quantized as it is, and the one whose output comes closest is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.engines.segment_operations import Operation, observe, operations_of, output_gradients, output_of
from harness.engines.layerwise import Visit, walk
from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.machine.memory import Kept
from harness.method.base import Context
from harness.quant.calibrate.installation import FLOAT_BITS
from harness.quant.calibrate.placement import Placement
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.twin_gelu import GELU_MINIMUM, TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.format.uniform import from_range
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

Twin = Literal["released", "paper", "none"]
FINEST_SPLIT = 20  # the small softmax range is at most 2^19 times finer than the large one
QKV_GROUPS = 3
HEADS = 1  # axis of the heads in attention's products


@dataclass(frozen=True)
class LayerSearchSettings:
    """How to search.

    Attributes:
        low: First factor of the grid, times the min-max scale.
        high: Its open end.
        steps: Number of factors.
        rounds: How often weights and operands take turns.
        score: ``hessian``: squared error weighted with the squared gradient of the prediction; ``cosine``.
        gradient: For ``hessian``: ``random`` pulls a random vector of logits back through the full-precision network,
            ``quantized`` takes the gradient of the divergence of the quantized prediction from the full-precision one.
        sequential: Layers see inputs from the layers quantized before them.
        twin: Ranges of softmax and GELU outputs: twins as in the released code or as the paper prints them, or one.
        batch: Images per backward pass.
        placement: Where quantizers sit. ``deploy``: weights have one searched scale per output channel, products of
            attention one per operand; the other formats are those of the papers, which integer kernels compute.
    """

    low: float
    high: float
    steps: int
    rounds: int
    score: Literal["hessian", "cosine"]
    gradient: Literal["random", "quantized"]
    sequential: bool
    twin: Twin
    batch: int
    placement: Placement

    @property
    def factors(self) -> list[float]:
        """The grid."""
        return [self.low + (self.high - self.low) * index / self.steps for index in range(self.steps)]


@dataclass(frozen=True)
class _Seen:
    """What one operation read and gave, all images in one batch, and the squared gradient of its output."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    squared_gradient: Tensor | None = None


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
        if self.settings.sequential:
            operation, (x,) = operations_of(visit.segment.module)[name], visit.quantized
            inputs = observe(
                {name: operation}, lambda: self.model.run(x, visit.index, visit.index + 1), self.context.budget
            )[name][:-1]
        return _Seen((*inputs,), output, None if gradient is None else torch.cat(list(gradient)).square())

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
            for side in sides:
                self._improve(module, seen, side)

    def _start(self, module: Operation, seen: _Seen) -> list[str]:
        """Min-max quantizers; returns the names of those that are searched, weights first."""
        names: list[str] = []
        bits, placement = self.context.bits, self.settings.placement
        if isinstance(module, WeightedOperation):
            if (width := bits.at(module.site).weight) < FLOAT_BITS:
                self.model.quantizers[module.site.name] = _weight_quantizer(module, width, placement)
                names.append(module.site.name)
            operands = [(module.operand, seen.inputs[0])]
        else:
            operands = [(module.left.name, seen.inputs[0]), (module.right.name, seen.inputs[1])]
        for name, x in operands:
            site = self.model.sites[name]
            width = placement.width(site, bits) if placement.selects(site) else FLOAT_BITS
            if width < FLOAT_BITS:
                heads = not isinstance(module, WeightedOperation) and x.ndim == 4 and not placement.deployed
                self.model.quantizers[name] = _operand_quantizer(site, x, width, self.settings.twin, heads=heads)
                names.append(name)
        return names

    def _improve(self, module: Operation, seen: _Seen, name: str) -> None:
        start = self.model.quantizers[name]
        groups = 1
        if isinstance(module, WeightedOperation) and name == module.site.name:
            groups = _groups(module, self.settings.placement)
        if start.axis == HEADS and not isinstance(module, WeightedOperation):
            groups = start.scale.numel()
        first = self._first.setdefault(name, start)
        candidates = _candidates(first, self.settings)
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
        if self.settings.score == "cosine":
            if want.shape[-1] == 1:  # one channel: compare its positions, a single number has no direction
                want, got = want.flatten(1)[:, None], got.flatten(1)[:, None]
            similarity: Tensor = F.cosine_similarity(want, got, dim=-1)
            return similarity.flatten(1).double().mean(dim=1)
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


def _groups(module: WeightedOperation, placement: Placement) -> int:
    """Scales of a weight that are searched apart: q, k and v; each channel of a convolution; else one for the layer."""
    rows, columns = module.weight.shape[:2]
    if module.weight.ndim > 2 or placement.deployed:
        return int(rows)
    return QKV_GROUPS if module.site.attention and rows == QKV_GROUPS * columns else 1


def _weight_quantizer(module: WeightedOperation, bits: int, placement: Placement) -> NumberFormat:
    """Symmetric; one scale per group, written out per channel where there are several."""
    groups = _groups(module, placement)
    bound = module.present_weight.reshape(groups, -1).abs().amax(dim=1)
    spec = placement.weight_spec(bits, symmetric=True)
    if groups == 1:
        return from_range(replace(spec, axis=None), -bound, bound)
    bound = bound.repeat_interleave(len(module.weight) // groups)
    return from_range(spec, -bound, bound)


def _operand_quantizer(site: Site, x: Tensor, bits: int, twin: Twin, *, heads: bool) -> NumberFormat:
    """What an operand begins with; products of attention have a scale for each head, but for the softmax's twin ranges."""
    zero, half = torch.zeros(1, device=x.device), 2 ** (bits - 1)
    low, high = (end.reshape(1) for end in torch.aminmax(x))
    if twin != "none" and site.kind is Kind.SOFTMAX:
        steps = torch.full((2,), 1 / (half - 1 if twin == "released" else half), device=x.device)
        return TwinSoftmax(bits, steps, zero, zero + 1, summed=twin == "released")
    if twin != "none" and site.function == "gelu" and float(low) < 0 < float(high):
        steps = torch.cat([zero + GELU_MINIMUM / half, high / (half - 0.5)])
        return TwinGelu(bits, steps, low, high)
    if heads:
        bound = channel_rows(x, HEADS).abs().amax(dim=1)
        return from_range(AffineSpec(bits, signed=True, symmetric=True, axis=HEADS), -bound, bound)
    bound = torch.maximum(-low, high)
    return from_range(AffineSpec(bits, signed=True, symmetric=True), -bound, bound)


def _candidates(start: NumberFormat, settings: LayerSearchSettings) -> list[NumberFormat]:
    """The grid of one quantizer: factors of its scale, or what its twin range leaves free."""
    if isinstance(start, TwinSoftmax):
        large = start.scale[1:]
        return [replace(start, scale=torch.cat([large / 2**split, large])) for split in range(FINEST_SPLIT)]
    if isinstance(start, TwinGelu):
        return [replace(start, scale=torch.cat([start.scale[:1], start.scale[1:] * f])) for f in settings.factors]
    return [replace(start, scale=start.scale * factor) for factor in settings.factors]
