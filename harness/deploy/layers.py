"""Operations of a network to be exported: quantizers are explicit pairs, weights are stored codes.

The pairs are the ``quantized_decomposed`` operations of torch, which its ONNX exporter writes as QuantizeLinear and
DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn

from harness.deploy.grids import BYTE_MAX, BYTE_MIN, SIGNED_MAX, SIGNED_MIN, ActivationGrid, WeightCodes
from harness.quant.format.arithmetic import along
from harness.quant.network.norms import normalised

quantized = torch.ops.quantized_decomposed
BYTE = (BYTE_MIN, BYTE_MAX, torch.uint8)
SIGNED_BYTE = (SIGNED_MIN, SIGNED_MAX, torch.int8)


class Pair(nn.Module):
    """Quantize and dequantize with one scale.

    Args:
        grid: The codes.
        after: Scale of the values that come out; None for the grid's own.
    """

    def __init__(self, grid: ActivationGrid, after: float | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.after = grid.scale if after is None else after

    def forward(self, x: Tensor) -> Tensor:
        """The values of the grid nearest to ``x``."""
        grid = self.grid
        x = x if grid.offset == 0 else x - grid.offset
        if not grid.fills_byte:
            x = torch.clamp(x, *grid.ends)
        codes = quantized.quantize_per_tensor(x, grid.scale, grid.zero_point, *BYTE)
        values: Tensor = quantized.dequantize_per_tensor(codes, self.after, grid.zero_point, *BYTE)
        return values if grid.offset == 0 else values + grid.offset


class Factored(nn.Module):
    """A pair between a division and a multiplication by a factor per channel (power-of-two factors)."""

    def __init__(self, grid: ActivationGrid, factors: Tensor, axis: int) -> None:
        super().__init__()
        self.pair = Pair(grid)
        self.axis = axis
        self.register_buffer("factors", factors)
        self.factors: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The values of each channel's grid."""
        factors = along(self.factors, x.ndim, self.axis)
        values: Tensor = self.pair(x / factors) * factors
        return values


class Stored(nn.Module):
    """A weight or constant: codes that are dequantized when it is read.

    Args:
        stored: The codes.
        transposed: Stored as ``(inputs, outputs)``, as products of integers read it.
    """

    def __init__(self, stored: WeightCodes, *, transposed: bool = False) -> None:
        super().__init__()
        axis = 0 if stored.axis is None else stored.axis
        codes = stored.codes.t().contiguous() if transposed else stored.codes
        channels = stored.codes.shape[axis]
        scale, zero_point = stored.per_channel(channels)
        self.axis = codes.ndim - 1 if transposed else axis % codes.ndim
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point.long())

    def forward(self, _: Tensor | None = None) -> Tensor:
        """Its values; what a constant's place is given is the full-precision constant, which is not read."""
        values: Tensor = quantized.dequantize_per_channel(self.codes, self.scale, self.zero_point, self.axis, *SIGNED_BYTE)
        return values


class Plain(nn.Module):
    """A weight without a quantizer."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor

    def forward(self) -> Tensor:
        """The weight."""
        return self.weight


class Replaced(nn.Module):
    """A constant that a transform put in the place of the network's own, which is not read."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.value: Tensor

    def forward(self, _: Tensor) -> Tensor:
        """The constant."""
        return self.value


class Weighted(nn.Module):
    """What linear operations and convolutions share.

    Args:
        read: Quantizer of the input alone, or the identity.
        weight: Gives the weight.
        bias: ``(outputs,)`` or None.
        offset: Of Banner's bias correction, ``(outputs,)`` or None: times the sum of the input.
    """

    def __init__(self, read: nn.Module, weight: nn.Module, bias: Tensor | None, offset: Tensor | None) -> None:
        super().__init__()
        self.read = read
        self.weight = weight
        self.register_buffer("bias", bias)
        self.register_buffer("offset", offset)
        self.bias: Tensor | None
        self.offset: Tensor | None


class Linear(Weighted):
    """A linear operation as a matrix product with a stored ``(inputs, outputs)`` weight."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., outputs)`` of ``(..., inputs)``."""
        return self.product(self.read(x))

    def product(self, x: Tensor) -> Tensor:
        """The operation behind the quantizer of its input."""
        rows = x.ndim == 2
        x = x.unsqueeze(1) if rows else x  # two axes would become a Gemm, whose integer kernel needs a quantized output
        y = torch.matmul(x, self.weight())
        if self.offset is not None:
            y = y + x.sum(-1, keepdim=True) * self.offset
        y = y if self.bias is None else y + self.bias
        return y.squeeze(1) if rows else y


class Convolution(Weighted):
    """A convolution; the sum over each window that an offset needs is a convolution with ones."""

    def __init__(
        self,
        read: nn.Module,
        weight: nn.Module,
        bias: Tensor | None,
        offset: Tensor | None,
        function: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        shape: torch.Size,
        groups: int,
    ) -> None:
        super().__init__(read, weight, bias, offset)
        self.function = function
        self.repeats = shape[0] // groups
        self.register_buffer("ones", None if offset is None else torch.ones(groups, *shape[1:]))
        self.ones: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """``(n, outputs, ...)`` of ``(n, inputs, ...)``."""
        x = self.read(x)
        y = self.function(x, self.weight(), self.bias)
        if self.offset is None or self.ones is None:
            return y
        sums = self.function(x, self.ones, None)
        if sums.shape[1] > 1:
            sums = sums.repeat_interleave(self.repeats, 1)
        return y + sums * along(self.offset, y.ndim, 1)


class Patches(Linear):
    """A convolution whose windows neither overlap nor leave a gap, as a matrix product over patches."""

    def __init__(
        self, read: nn.Module, weight: nn.Module, bias: Tensor | None, offset: Tensor | None, window: tuple[int, int]
    ) -> None:
        super().__init__(read, weight, bias, offset)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """``(n, outputs, h / kh, w / kw)`` of ``(n, inputs, h, w)``."""
        (kh, kw), (channels, height, width) = self.window, x.shape[1:]
        rows, columns = height // kh, width // kw
        x = self.read(x).reshape(-1, channels, rows, kh, columns, kw).permute(0, 2, 4, 1, 3, 5)
        y = self.product(x.reshape(-1, rows * columns, channels * kh * kw))
        return y.transpose(1, 2).reshape(-1, y.shape[-1], rows, columns)


class Product(nn.Module):
    """A product of two computed tensors.

    Args:
        left: Quantizer of the left operand alone, or the identity.
        right: Likewise.
        function: The product.
        before: What each operand is divided by, and the product multiplied by, ``(heads,)``; None for nothing.
    """

    def __init__(
        self,
        left: nn.Module,
        right: nn.Module,
        function: Callable[[Tensor, Tensor], Tensor],
        before: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> None:
        super().__init__()
        self.left, self.right, self.function = left, right, function
        self.register_buffer("left_heads", before[0])
        self.register_buffer("right_heads", before[1])
        self.left_heads: Tensor | None
        self.right_heads: Tensor | None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of both operands."""
        y = self.function(self.left(_divided(a, self.left_heads)), self.right(_divided(b, self.right_heads)))
        for factors in (self.left_heads, self.right_heads):
            y = y if factors is None else y * along(factors, y.ndim, 1)
        return y


def _divided(x: Tensor, factors: Tensor | None) -> Tensor:
    return x if factors is None else x / along(factors, x.ndim, 1)


class Norm(nn.Module):
    """Layer normalisation in floating point; its root mean square form where it is not centred."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, eps: float, *, centred: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.centred = centred
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor | None
        self.bias: Tensor | None

    def forward(self, x: Tensor, shape: list[int]) -> Tensor:
        """Normalise over the last axes of size ``shape``."""
        return normalised(x, shape, self.weight, self.bias, self.eps, centred=self.centred)


class Softmax(nn.Module):
    """Softmax in floating point."""

    def forward(self, x: Tensor, axis: int) -> Tensor:
        """Softmax over ``axis``."""
        return torch.softmax(x, axis)


def rescaled(grid: ActivationGrid, factor: float) -> tuple[Pair, ActivationGrid]:
    """Values of a grid times a positive number as the same codes with another scale, and their grid."""
    after = replace(grid, scale=grid.scale * factor)
    return Pair(grid, after.scale), after
