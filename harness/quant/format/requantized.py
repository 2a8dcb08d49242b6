"""Power-of-two factors and then one scale for all channels: two quantizers one after the other on the same tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import fake_quantize, integer_range
from harness.quant.format.integer_grid import IntegerGrid
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.realisation import SCALE_BYTES, ZERO_POINT_BYTES
from harness.quant.format.registration import number_format


@number_format("power_of_two_requantized")
@dataclass(frozen=True)
class Requantized(PowerOfTwo):
    """What Evol-Q's release does after LeViT's stem and after its last block: PTF, then unsigned codes of one scale.

    Attributes:
        second_scale: Scale of the second quantizer, ``(1,)``.
        second_zero_point: Its zero point, ``(1,)``.
    """

    second_scale: Tensor = field(kw_only=True)
    second_zero_point: Tensor = field(kw_only=True)

    @classmethod
    def both(cls, first: PowerOfTwo, second: Affine) -> Self:
        """One quantizer after the other; the second has one scale for the tensor and unsigned codes of the same width."""
        return cls(**vars(first), second_scale=second.scale, second_zero_point=second.zero_point)

    @property
    def parameter_bytes(self) -> float:
        """Those of both."""
        return super().parameter_bytes + SCALE_BYTES + ZERO_POINT_BYTES

    def quantize(self, x: Tensor) -> Tensor:
        """The second quantizer's value of the first one's."""
        return fake_quantize(super().quantize(x), self.second_scale, self.second_zero_point, *self._codes)

    def quantize_(self, x: Tensor) -> Tensor:
        """``quantize``; the second step needs memory of its own."""
        return self.quantize(x)

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """The first quantizer's gradients; the second step passes them on as they are."""
        first = super().straight_through(x)
        with torch.no_grad():
            step = fake_quantize(first, self.second_scale, self.second_zero_point, *self._codes) - first
        quantized = first + step
        return quantized if kept is None else torch.where(kept, x, quantized)

    def codes(self, x: Tensor) -> Tensor:
        """The second quantizer's integers."""
        positions = super().quantize(x) / self.second_scale + self.second_zero_point
        return positions.round().clamp(*self._codes).to(torch.int32)

    def integer_grid(self) -> IntegerGrid | str:
        """The second quantizer's."""
        if not torch.equal(self.second_zero_point, self.second_zero_point.round()):
            return "fractional zero points"
        return IntegerGrid(self.second_scale.detach(), self.second_zero_point, *self._codes, None)

    @property
    def _codes(self) -> tuple[int, int]:
        return integer_range(self.bits, signed=False)
