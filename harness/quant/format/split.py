"""Weights with split input channels (OCS): a column's values are the sum of two or more codes (Zhao et al., ICML 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.arithmetic import along
from harness.quant.format.base import NumberFormat
from harness.quant.format.registration import number_format

INDEX_BYTES = 2  # of the input channel that a further column reads


@number_format("split")
@dataclass(frozen=True)
class Split(NumberFormat):
    """Each stored column holds a share of an input channel's weights, moved by a part of a step, on one grid for all.

    The network computes with what the columns of a channel add up to, as if the channel were read once for each.

    Attributes:
        scale: ``(1,)`` or one entry per output channel.
        zero_point: Likewise, integers in float32.
        minimum: Lower end of the range of what is stored, likewise.
        maximum: Upper end of that range.
        columns: Input channel of each stored column, ``(stored,)``, int64.
        shares: Part of the channel's weight that a column holds, ``(stored,)``.
        offsets: What is added to it, in steps, ``(stored,)``; those of one channel add up to zero.
        low: Smallest code.
        high: Largest code.
        grown: How many codes are stored beyond one for each weight.
    """

    zero_point: Tensor
    minimum: Tensor
    maximum: Tensor
    columns: Tensor
    shares: Tensor
    offsets: Tensor
    low: int
    high: int
    grown: int

    def quantize(self, x: Tensor) -> Tensor:
        """The sum of each channel's columns."""
        return self._summed(x).to(x.dtype) * along(self.scale, x.ndim, 0)

    def codes(self, x: Tensor) -> Tensor:
        """The sum of ``q - z`` over each channel's columns: wider than one code."""
        return self._summed(x).round().to(torch.int32)

    @property
    def levels(self) -> int:
        """Different sums of the channel with the most columns."""
        most = int(self.columns.bincount().max())
        return most * (self.high - self.low) + 1

    @property
    def zero_points(self) -> int:
        """One byte each."""
        return self.zero_point.numel()

    @property
    def parameter_bytes(self) -> float:
        """With the codes of further columns, and which channels they read."""
        further = len(self.columns) - int(self.columns.max()) - 1
        return super().parameter_bytes + self.grown * self.bits / 8 + INDEX_BYTES * further

    def _summed(self, x: Tensor) -> Tensor:
        scale, zero_point = (along(one, x.ndim, 0) for one in (self.scale, self.zero_point))
        parts = x.index_select(1, self.columns) / scale * along(self.shares, x.ndim, 1) + along(self.offsets, x.ndim, 1)
        steps = (parts + zero_point).round().clamp(self.low, self.high) - zero_point
        return torch.zeros_like(x).index_add_(1, self.columns, steps)
