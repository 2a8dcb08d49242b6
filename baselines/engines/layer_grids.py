"""Settings of the layer-wise search, and the quantizers that it chooses from: where each begins, and its grid of factors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from harness.baselines.engines.output_scores import Ranking
from harness.graph.operations import Kind
from harness.graph.sites import Site
from harness.quant.calibrate.placement import Placement
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat
from harness.quant.format.twin_gelu import GELU_MINIMUM, TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.format.uniform import from_range
from harness.quant.network.operators import WeightedOperation

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
        rounds: How often weights and operands take turns; a round that changes nothing is the last one.
        score: ``hessian``: squared error weighted with the squared gradient of the prediction; ``cosine``; ``pearson``: the
            correlation of an image's output.
        gradient: For ``hessian``: ``random`` pulls a random vector of logits back through the full-precision network,
            ``quantized`` takes the gradient of the divergence of the quantized prediction from the full-precision one.
        sequential: Layers see inputs from the layers quantized before them.
        twin: Ranges of softmax and GELU outputs: twins as in the released code or as the paper prints them, or one.
        batch: Images per backward pass.
        placement: Where quantizers sit. ``deploy``: weights have one searched scale per output channel, products of
            attention one per operand; the other formats are those of the papers, which integer kernels compute.
        apart: Channels of a convolution and heads of a product have scales of their own.
        ranking: For ``pearson``: how the order of attention's scores counts besides; None for not at all.
        correct_bias: After every round biases get back what their operation's output lost on average.
    """

    low: float
    high: float
    steps: int
    rounds: int
    score: Literal["hessian", "cosine", "pearson"]
    gradient: Literal["random", "quantized"]
    sequential: bool
    twin: Twin
    batch: int
    placement: Placement
    apart: bool = True
    ranking: Ranking | None = None
    correct_bias: bool = False

    @property
    def factors(self) -> list[float]:
        """The grid."""
        return [self.low + (self.high - self.low) * index / self.steps for index in range(self.steps)]


def groups_of(module: WeightedOperation, settings: LayerSearchSettings) -> int:
    """Scales of a weight that are searched apart: q, k and v; each channel of a convolution; else one for the layer."""
    rows, columns = module.weight.shape[:2]
    if settings.placement.deployed or (settings.apart and module.weight.ndim > 2):
        return int(rows)
    fused = module.weight.ndim == 2 and module.site.attention and rows == QKV_GROUPS * columns
    return QKV_GROUPS if fused else 1


def weight_start(module: WeightedOperation, bits: int, settings: LayerSearchSettings) -> NumberFormat:
    """Symmetric; one scale per group, written out per channel where there are several."""
    groups = groups_of(module, settings)
    bound = module.present_weight.reshape(groups, -1).abs().amax(dim=1)
    spec = settings.placement.weight_spec(bits, symmetric=True)
    if groups == 1:
        return from_range(replace(spec, axis=None), -bound, bound)
    bound = bound.repeat_interleave(len(module.weight) // groups)
    return from_range(spec, -bound, bound)


def operand_start(site: Site, x: Tensor, bits: int, twin: Twin, *, heads: bool) -> NumberFormat:
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


def grid_of(start: NumberFormat, settings: LayerSearchSettings) -> list[NumberFormat]:
    """The grid of one quantizer: factors of its scale, or what its twin range leaves free."""
    if isinstance(start, TwinSoftmax):
        large = start.scale[1:]
        return [replace(start, scale=torch.cat([large / 2**split, large])) for split in range(FINEST_SPLIT)]
    if isinstance(start, TwinGelu):
        return [replace(start, scale=torch.cat([start.scale[:1], start.scale[1:] * f])) for f in settings.factors]
    return [replace(start, scale=start.scale * factor) for factor in settings.factors]
