"""Products made ready to run on integer codes: what is computed once per weight and quantizers, and the work per batch.

All of them compute ``float32(D) * gain + float32(X) * offset + bias`` in this order, element by element. ``D`` is the exact
integer product of both operands' ``q - z``, ``X`` the exact sum of the input's; only bias-corrected weights have an offset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from harness.quant.format.arithmetic import along
from harness.quant.format.base import NumberFormat
from harness.quant.format.integer_grid import IntegerGrid
from harness.quant.format.row_correction import row_gain_and_offset
from harness.quant.network.arithmetic_rule import Reading
from harness.quant.network.convolution import Convolution
from harness.quant.network.integer_products import (
    EXACT_FLOAT,
    EXACT_INT,
    block_rows,
    deep_int_matmul,
    int_kernel,
    matmul,
    sum_type,
)

T = TypeVar("T")
LEAST_MACS = 2**20  # smaller matrices are multiplied faster all at once, as floats
NEAR = 1e-3  # part of a step: values of a grid are nearer, others are not, not all of them


class Kept(Generic[T]):
    """One value until what it was made of is other objects (all of them are replaced, never changed in place)."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._value: T | None = None

    def of(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """The value that belongs to these objects."""
        kept = self._key
        if self._value is None or kept is None or any(a is not b for a, b in zip(kept, key, strict=True)):
            self._value, self._key = compute(), key
        return self._value


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether gradients must flow through one of these: rounding to integers has none."""
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)


def keep_not_finite(x: Tensor, there: Tensor) -> None:
    """Let NaN pass: it has no code, and a network that diverges must not look as if it did not.

    Args:
        x: What was read, by rows or images along the first axis.
        there: What was computed from each; overwritten where a value is not finite.
    """
    if not torch.isfinite(x.sum()):
        there[~torch.isfinite(x.flatten(1).sum(1))] = torch.nan


@dataclass(frozen=True)
class Steps:
    """How an operand's codes come back from its fake-quantized values.

    Attributes:
        step: Distance of values after all that happened on the way: ``()`` or broadcasting against the operand.
        inverse: Its reciprocal; a number where there is one for the tensor.
        zero_point: Where one number per tensor is; what codes are moved by to fit a signed byte is taken off.
    """

    step: Tensor
    inverse: float | Tensor
    zero_point: int

    @classmethod
    def of(cls, found: Reading, rank: int) -> Steps:
        """Of an operand with ``rank`` axes."""
        grid = found.grid
        step = along(grid.scale * found.route.factor, rank, grid.axis or 0)
        inverse = 1.0 / step
        only = step.ndim == 0
        zero_point = int(grid.zero_point) - grid.shift if grid.zero_point.numel() == 1 else 0
        return cls(step, float(inverse) if only else inverse, zero_point)

    def whole(self, x: Tensor) -> Tensor:
        """``q - z`` of values on the grid, float32."""
        return torch.mul(x, self.inverse).round_()

    def codes(self, x: Tensor) -> Tensor:
        """``q`` moved into a signed byte, int8."""
        return self.whole(x).add_(self.zero_point).to(torch.int8)

    def holds(self, x: Tensor) -> bool:
        """Whether values lie on the grid: what was stored, or comes from elsewhere, may not."""
        return bool(self.whole(x).mul_(self.step).sub_(x).abs_().div_(self.step).max() < NEAR)


@dataclass(frozen=True)
class Rows:
    """A quantized weight by output channels.

    Attributes:
        whole: ``q - z``, integers in float32, shaped like the weight.
        zero_point: ``(n,)`` or ``(1,)``, what codes are moved by to fit a signed byte is taken off.
        reach: Largest ``|q - z|``.
        gain: ``(n,)`` or ``(1,)``: the scale, times the correction's gain.
        offset: ``(n,)``, what a correction adds to every weight of a channel; None for none.
    """

    whole: Tensor
    zero_point: Tensor
    reach: int
    gain: Tensor
    offset: Tensor | None

    @classmethod
    def of(cls, quantizer: NumberFormat, grid: IntegerGrid, weight: Tensor, reference: Tensor) -> Rows:
        """Of a weight, its format and what a correction compares it with."""
        values = quantizer.quantize(weight)
        whole = (values / along(grid.scale, weight.ndim, 0)).round_()
        gain, offset = grid.scale, None
        if quantizer.correction:
            ratio, offset = row_gain_and_offset(reference, values, quantizer.correction)
            gain = gain * ratio
        return cls(whole, grid.zero_point - grid.shift, grid.reach, gain, offset)


class Weighted(ABC):
    """A linear operation or convolution on codes."""

    def __init__(self, found: Reading, rows: Rows, rank: int) -> None:
        self.steps = Steps.of(found, rank)
        self.far = bool(found.route.crosses)
        self.gain = self.steps.step * rows.gain
        self.offset = None if rows.offset is None else self.steps.step * rows.offset

    def takes(self, x: Tensor) -> bool:
        """Whether an input lies on the grid: only what another segment left behind must be looked at."""
        return not self.far or self.steps.holds(x)

    @abstractmethod
    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The product with a fake-quantized input, plus the bias."""

    def _finish(self, y: Tensor, sums: Tensor | None, bias: Tensor | None) -> Tensor:
        """From exact integers to values, in place; channels are last."""
        y.mul_(self.gain)
        if self.offset is not None:
            assert sums is not None
            y.add_(sums.to(torch.float32).mul(self.offset))
        return y if bias is None else y.add_(bias)


class WeightedMatrix(Weighted):
    """A linear operation, or a convolution of one group whose windows become rows.

    Args:
        found: The input's codes.
        rows: The weight's.
        convolution: What it does; None for a linear operation.
    """

    def __init__(self, found: Reading, rows: Rows, convolution: Convolution | None) -> None:
        super().__init__(found, rows, 2 if convolution is None else 4)
        self.convolution = convolution
        whole = rows.whole if convolution is None else rows.whole.permute(0, 2, 3, 1)
        whole = whole.reshape(len(whole), -1).t()
        self.reach = found.grid.reach * rows.reach
        self.matrix = (whole + rows.zero_point).to(torch.int8).contiguous()
        depth, z = len(whole), self.steps.zero_point
        self.kind = sum_type(depth, self.reach)
        self.zero_point = rows.zero_point.to(self.kind)
        self.symmetric = not bool(self.zero_point.any())
        self.constant = -z * self.matrix.sum(0, dtype=self.kind) + depth * z * self.zero_point

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """On int8 codes, accumulated in integers."""
        if self.convolution is None:
            flat = x.reshape(-1, x.shape[-1])
            y = torch.empty(len(flat), self.matrix.shape[1], device=x.device)
            size = block_rows(flat, max(self.matrix.shape))
            for part, there in zip(flat.split(size), y.split(size), strict=True):
                self._product(self.steps.codes(part), bias, there)
                keep_not_finite(part, there)
            return y.reshape(*x.shape[:-1], -1)
        h, w = self.convolution.size(x)
        y = torch.empty(len(x), h * w, self.matrix.shape[1], device=x.device)
        size = max(1, block_rows(x, max(self.matrix.shape)) // (h * w))
        for part, there in zip(x.split(size), y.split(size), strict=True):
            rows = self.convolution.rows(self.steps.codes(part), self.steps.zero_point)
            self._product(rows, bias, there.flatten(0, 1))
            keep_not_finite(part, there)
        y = y.reshape(len(x), h, w, -1).permute(0, 3, 1, 2)
        return y.contiguous() if x.is_contiguous() else y

    def _product(self, rows: Tensor, bias: Tensor | None, there: Tensor) -> None:
        """Write the product with rows of codes."""
        total, sums = deep_int_matmul(rows, self.matrix, self.reach), None
        if not self.symmetric or self.offset is not None:
            sums = rows.sum(1, keepdim=True, dtype=self.kind)
        if not self.symmetric:
            assert sums is not None
            total.addcmul_(sums, self.zero_point, value=-1)
        if self.steps.zero_point:
            total.add_(self.constant)
        if sums is not None:
            sums = sums - rows.shape[1] * self.steps.zero_point
        self._finish(there.copy_(total), sums, bias)


class WeightedGroups(Weighted):
    """A convolution of several groups, on integer-valued floats: exact whatever the order of its sums.

    Args:
        found: The input's codes.
        rows: The weight's.
        convolution: What it does.
    """

    def __init__(self, found: Reading, rows: Rows, convolution: Convolution) -> None:
        super().__init__(found, rows, 4)
        self.convolution = convolution
        bound = rows.whole[0].numel() * found.grid.reach * rows.reach
        self.weight = rows.whole if bound < EXACT_FLOAT else rows.whole.double()

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """In float32, or in float64 where sums leave its integers."""
        whole = self.steps.whole(x).to(self.weight.dtype)
        total = self._last(self.convolution.apply(whole, self.weight))
        sums = None
        if self.offset is not None:
            sums = self._last(self.convolution.apply(whole, torch.ones_like(self.weight)))
        y = self._finish(total.to(torch.float32), sums, bias).permute(0, 3, 1, 2)
        return y.contiguous() if x.is_contiguous() else y

    @staticmethod
    def _last(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Product:
    """A product of two computed tensors on integer-valued floats.

    Args:
        left: The left operand's codes.
        right: The right operand's.
        ranks: Numbers of their axes.
    """

    def __init__(self, left: Reading, right: Reading, ranks: tuple[int, int]) -> None:
        self.left, self.right = Steps.of(left, ranks[0]), Steps.of(right, ranks[1])
        self.far = bool(left.route.crosses), bool(right.route.crosses)
        self.reach = left.grid.reach * right.grid.reach
        self.gain = self.left.step * self.right.step

    def takes(self, a: Tensor, b: Tensor) -> bool:
        """Whether both operands lie on their grids, as in ``Weighted``."""
        return (not self.far[0] or self.left.holds(a)) and (not self.far[1] or self.right.holds(b))

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of fake-quantized operands ``(..., m, k)`` and ``(..., k, n)``."""
        if not self._on_bytes(a, b):
            return matmul(self.left.whole(a), self.right.whole(b), self.reach).mul_(self.gain)
        y = torch.empty(*a.shape[:-1], b.shape[-1])
        for left, right, there in zip(a, b, y, strict=True):
            self._into(left, right, there)
        return y

    def _on_bytes(self, a: Tensor, b: Tensor) -> bool:
        """Whether matrix after matrix on bytes is faster than all of them as floats, and possible."""
        depth, plain = a.shape[-1], self.gain.ndim == 0 and a.ndim > 2 and a.shape[:-2] == b.shape[:-2]
        large = a.shape[-2] * depth * b.shape[-1] >= LEAST_MACS and depth * self.reach < EXACT_INT
        return plain and large and not a.is_cuda and int_kernel()

    def _into(self, a: Tensor, b: Tensor, there: Tensor) -> None:
        """The product of one image's matrices on int8 codes, which adds up to the same integers."""
        left_sum, right_sum = a.sum(), b.sum()
        a, b = self.left.codes(a), self.right.codes(b)
        depth, za, zb = a.shape[-1], self.left.zero_point, self.right.zero_point
        total = torch.empty(there.shape, dtype=torch.int32)
        for left, right, here in zip(*(one.flatten(0, -3) for one in (a, b, total)), strict=True):
            torch._int_mm(left, right, out=here)
        if zb:
            total.sub_(a.sum(-1, keepdim=True, dtype=torch.int32).mul_(zb))
        if za:
            total.sub_(b.sum(-2, keepdim=True, dtype=torch.int32).sub_(depth * zb).mul_(za))
        there.copy_(total).mul_(self.gain)
        if not (torch.isfinite(left_sum) and torch.isfinite(right_sum)):
            there.fill_(torch.nan)


def prepared(
    found: Reading,
    grid: IntegerGrid,
    quantizer: NumberFormat,
    weight: Tensor,
    reference: Tensor,
    convolution: Convolution | None,
) -> Weighted:
    """A weighted operation made ready.

    Args:
        found: The input's codes.
        grid: The weight's grid.
        quantizer: The weight's format.
        weight: What the format rounds.
        reference: Whose mean and deviation a correction restores.
        convolution: What it does; None for a linear operation.
    """
    rows = Rows.of(quantizer, grid, weight, reference)
    if convolution is not None and convolution.groups > 1:
        return WeightedGroups(found, rows, convolution)
    return WeightedMatrix(found, rows, convolution)
