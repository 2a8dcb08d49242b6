"""Search of scales layer by layer, the engine of PTQ4ViT and EasyQuant: weights and operands in turn, on a grid of factors.

Every convolution, linear operation and matrix product is searched on its own: the scale of one side goes over the grid
while the other side is quantized as it is, and the one whose output comes closest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.method.base import Context
from harness.quant.calibrate.installation import FLOAT_BITS
from harness.quant.format.affine import AffineSpec
from harness.quant.format.base import NumberFormat
from harness.quant.format.twin_gelu import GELU_MINIMUM, TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.format.uniform import from_range
from harness.quant.network.operands import operand_bits
from harness.quant.network.operators import MatMul, WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

Operation = WeightedOperation | MatMul
FINEST_SPLIT = 20  # the small softmax range is at most 2^19 times finer than the large one
QKV_GROUPS = 3


@dataclass(frozen=True)
class Plan:
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
        twin: Twin ranges for softmax and GELU outputs.
        batch: Images per backward pass.
    """

    low: float
    high: float
    steps: int
    rounds: int
    score: Literal["hessian", "cosine"]
    gradient: Literal["random", "quantized"]
    sequential: bool
    twin: bool
    batch: int

    @property
    def factors(self) -> list[float]:
        """The grid."""
        return [self.low + (self.high - self.low) * index / self.steps for index in range(self.steps)]


@dataclass
class _Seen:
    """What one operation read and gave in full precision, and the gradient of its output."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    squared_gradient: Tensor | None = None


@torch.no_grad()
def search_layers(model: QuantizedModel, images: Tensor, plan: Plan, context: Context) -> None:
    """Install quantizers on all weights and operands, one segment after the other.

    Args:
        model: The network without quantizers.
        images: Calibration images, in one batch.
        plan: How to search.
        context: The step's context.
    """
    searcher = _Searcher(model, plan, context)
    if plan.score == "hessian" and plan.gradient == "quantized":
        searcher.install_ranges(images)
    target = model.full_precision(images)
    full = quantized = images
    total = sum(len(operations_of(segment.module)) for segment in model.segments)
    with context.progress.task("layer search", total) as task:
        for index in range(len(model.segments)):
            gradients = searcher.gradients(index, full, target) if plan.score == "hessian" else {}
            seen = searcher.seen(index, full, quantize=False)
            for name, module in operations_of(model.segments[index].module).items():
                here = seen[name]
                if plan.sequential:
                    here = replace(here, inputs=searcher.seen(index, quantized, quantize=True)[name].inputs)
                if name in gradients:
                    here.squared_gradient = gradients[name].square()
                searcher.search(module, here)
                task.advance()
            quantized = model.run(quantized, index, index + 1)
            full = model.run_full_precision(full, index, index + 1)


def operations_of(module: nn.Module) -> dict[str, Operation]:
    """The convolutions, linear operations and matrix products of a segment, in execution order."""
    return {name: one for name, one in module.named_modules() if isinstance(one, WeightedOperation | MatMul)}


class _Searcher:
    """Searches one operation after the other."""

    def __init__(self, model: QuantizedModel, plan: Plan, context: Context) -> None:
        self.model = model
        self.plan = plan
        self.context = context
        self.generator = context.generator("layer search")
        self._first: dict[str, NumberFormat] = {}

    def install_ranges(self, images: Tensor) -> None:
        """Min-max quantizers everywhere: where the gradient of the quantized network is taken."""
        full = images
        for index, segment in enumerate(self.model.segments):
            for name, here in self.seen(index, full, quantize=False).items():
                self._start(operations_of(segment.module)[name], here)
            full = self.model.run_full_precision(full, index, index + 1)

    def seen(self, index: int, x: Tensor, *, quantize: bool) -> dict[str, _Seen]:
        """Inputs and outputs of a segment's operations."""
        found: dict[str, _Seen] = {}

        def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            # Taps reuse the memory of values, so what is kept must be a copy.
            def keep(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                found[name] = _Seen(tuple(one.clone() for one in inputs), output.clone())

            return keep

        handles = [m.register_forward_hook(hook(n)) for n, m in operations_of(self.model.segments[index].module).items()]
        try:
            run = self.model.run if quantize else self.model.run_full_precision
            run(x, index, index + 1)
        finally:
            for handle in handles:
                handle.remove()
        return found

    def gradients(self, index: int, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Gradients of the prediction's divergence with respect to the outputs of a segment's operations."""
        operations = operations_of(self.model.segments[index].module)
        parts: dict[str, list[Tensor]] = {name: [] for name in operations}
        vectors = torch.randn(target.shape, generator=self.generator).to(target.device)
        for start in range(0, len(x), self.plan.batch):
            here = slice(start, start + self.plan.batch)
            outputs: dict[str, Tensor] = {}
            handles = [m.register_forward_hook(_retain(outputs, name)) for name, m in operations.items()]
            try:
                with torch.enable_grad():
                    leaf = x[here].clone().requires_grad_(True)
                    if self.plan.gradient == "random":
                        loss = (self.model.run_full_precision(leaf, index) * vectors[here]).sum()
                    else:
                        logits = F.log_softmax(self.model.run(leaf, index), dim=1)
                        loss = F.kl_div(logits, F.log_softmax(target[here], dim=1), reduction="sum", log_target=True)
                    loss.backward()
            finally:
                for handle in handles:
                    handle.remove()
            for name, output in outputs.items():
                assert output.grad is not None
                parts[name].append(output.grad)
        return {name: torch.cat(grads) for name, grads in parts.items()}

    def search(self, module: Operation, seen: _Seen) -> None:
        """Search the scales of one operation and install its quantizers."""
        sides = self._start(module, seen)
        for _ in range(self.plan.rounds):
            for side in sides:
                self._improve(module, seen, side)

    def _start(self, module: Operation, seen: _Seen) -> list[str]:
        """Min-max quantizers; returns the names of those that are searched, weights first."""
        names: list[str] = []
        bits = self.context.bits
        if isinstance(module, WeightedOperation):
            if bits.weight < FLOAT_BITS:
                self.model.quantizers[module.site.name] = _weight_quantizer(module, bits.weight)
                names.append(module.site.name)
            operands = [(module.operand, seen.inputs[0])]
        else:
            operands = [(module.left.name, seen.inputs[0]), (module.right.name, seen.inputs[1])]
        for name, x in operands:
            site = self.model.sites[name]
            width = FLOAT_BITS if site.kind is Kind.INPUT else operand_bits(site, bits)
            if width < FLOAT_BITS:
                self.model.quantizers[name] = _operand_quantizer(site, x, width, twin=self.plan.twin)
                names.append(name)
        return names

    def _improve(self, module: Operation, seen: _Seen, name: str) -> None:
        start = self.model.quantizers[name]
        groups = _groups(module) if isinstance(module, WeightedOperation) and name == module.site.name else 1
        first = self._first.setdefault(name, start)
        candidates = _candidates(first, self.plan)
        scores = torch.stack([self._score(module, seen, name, candidate, groups) for candidate in candidates])
        best = scores.argmax(dim=0)
        if groups == 1:
            self.model.quantizers[name] = candidates[int(best)]
            return
        scales = torch.stack([candidate.scale for candidate in candidates])  # (candidates, channels)
        chosen = best.repeat_interleave(scales.shape[1] // groups)
        self.model.quantizers[name] = replace(first, scale=scales.gather(0, chosen[None])[0])

    def _score(self, module: Operation, seen: _Seen, name: str, candidate: NumberFormat, groups: int) -> Tensor:
        self.model.quantizers[name] = candidate
        output = output_of(self.model, module, seen.inputs)
        channel = 1 if isinstance(module, WeightedOperation) and module.weight.ndim > 2 else output.ndim - 1
        want, got = (_grouped(x, channel, groups) for x in (seen.output, output))
        if self.plan.score == "cosine":
            if want.shape[-1] == 1:  # one channel: compare its positions, a single number has no direction
                want, got = want.flatten(1)[:, None], got.flatten(1)[:, None]
            similarity: Tensor = F.cosine_similarity(want, got, dim=-1)
            return similarity.flatten(1).double().mean(dim=1)
        error = (want - got).square_()
        if seen.squared_gradient is not None:
            error *= _grouped(seen.squared_gradient, channel, groups)
        return -error.flatten(1).sum(dim=1, dtype=torch.float64)


def output_of(model: QuantizedModel, module: Operation, inputs: Sequence[Tensor], *, quantize: bool = True) -> Tensor:
    """An operation outside the network, with its present quantizers or without.

    Args:
        model: The model.
        module: The operation.
        inputs: What it reads, before the operands' quantizers.
        quantize: Whether quantizers act; transforms do in either case.
    """
    quantizers = model.quantizers if quantize else {}
    if isinstance(module, WeightedOperation):
        x = quantizers[module.operand](inputs[0]) if module.operand in quantizers else inputs[0]
        return module.function(x, module.quantized_weight() if quantize else module.present_weight, module.shifted_bias())
    sides = [
        quantizers[side.name](x) if side.name in quantizers else x
        for side, x in zip((module.left, module.right), inputs, strict=True)
    ]
    product: Tensor = module.function(*sides)
    return product


def _retain(outputs: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs[name] = output

    return keep


def _grouped(x: Tensor, channel: int, groups: int) -> Tensor:
    """``(groups, everything else, channels of the group)``."""
    split: Tensor = x.movedim(channel, -1).unflatten(-1, (groups, -1))
    return split.movedim(-2, 0)


def _groups(module: WeightedOperation) -> int:
    """Scales of a weight that are searched apart: q, k and v; each channel of a convolution; else one for the layer."""
    rows, columns = module.weight.shape[:2]
    if module.weight.ndim > 2:
        return int(rows)
    return QKV_GROUPS if module.site.attention and rows == QKV_GROUPS * columns else 1


def _weight_quantizer(module: WeightedOperation, bits: int) -> NumberFormat:
    """Symmetric; one scale per group, written out per channel where there are several."""
    groups = _groups(module)
    bound = module.present_weight.reshape(groups, -1).abs().amax(dim=1)
    if groups == 1:
        return from_range(AffineSpec(bits, signed=True, symmetric=True), -bound, bound)
    bound = bound.repeat_interleave(len(module.weight) // groups)
    return from_range(AffineSpec(bits, signed=True, symmetric=True, axis=0), -bound, bound)


def _operand_quantizer(site: Site, x: Tensor, bits: int, *, twin: bool) -> NumberFormat:
    zero, half = torch.zeros(1, device=x.device), 2 ** (bits - 1)
    low, high = (end.reshape(1) for end in torch.aminmax(x))
    if twin and site.kind is Kind.SOFTMAX:
        steps = torch.full((2,), 1 / half, device=x.device)
        return TwinSoftmax(bits, steps, zero, zero + 1)
    if twin and site.function == "gelu" and float(low) < 0 < float(high):
        steps = torch.cat([zero + GELU_MINIMUM / half, high / half])
        return TwinGelu(bits, steps, low, high)
    bound = torch.maximum(-low, high)
    return from_range(AffineSpec(bits, signed=True, symmetric=True), -bound, bound)


def _candidates(start: NumberFormat, plan: Plan) -> list[NumberFormat]:
    """The grid of one quantizer: factors of its scale, or what its twin range leaves free."""
    if isinstance(start, TwinSoftmax):
        large = start.scale[1:]
        return [replace(start, scale=torch.cat([large / 2**split, large])) for split in range(FINEST_SPLIT)]
    if isinstance(start, TwinGelu):
        return [replace(start, scale=torch.cat([start.scale[:1], start.scale[1:] * f])) for f in plan.factors]
    return [replace(start, scale=start.scale * factor) for factor in plan.factors]
