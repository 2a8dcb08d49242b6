"""Power-of-two factors (PTF): channel scales that differ by powers of two and share a zero point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import affine_parameters, fake_quantize, integer_range
from harness.quant.format.realisation import SCALE_BYTES, UNEVEN, ZERO_POINT_BYTES, Realisation
from harness.quant.format.registration import number_format

LARGEST_FACTOR = 8  # the factors are 1, 2, 4, 8
FACTOR_BITS = 2


@number_format("power_of_two")
@dataclass(frozen=True)
class PowerOfTwo(Affine):
    """FQ-ViT's format of the residual stream: a shift per channel, one zero point (Lin et al. 2022, Sec. 4.1)."""

    @property
    def factors(self) -> Tensor:
        """The power of two of each channel, ``(channels,)``, in units of the smallest scale."""
        scale = self.scale.detach()
        return torch.exp2(torch.round(torch.log2(scale / scale.min())))

    @property
    def free_scales(self) -> Tensor:
        """The smallest scale alone: channel scales that moved one by one would be no powers of two apart."""
        return self.scale.detach().min().reshape(1)

    def with_free_scales(self, values: Tensor) -> Self:
        """Another smallest scale ``(1,)`` with the same factors."""
        return replace(self, scale=values * self.factors)

    def at_lower_end(self) -> Self:
        """The shared zero point moves with the widest scale."""
        widest = self.scale.detach().min().reshape(1) * LARGEST_FACTOR
        return replace(self, zero_point=self._zero_point_at(self.minimum.min().reshape(1), widest))

    def on_grid(self, values: Tensor | None) -> bool:
        """An integer zero point, and scales that are 1, 2, 4 or 8 times the smallest one to the bit."""
        return self._shifts and super().on_grid(values)

    def realisation(self, values: Tensor | None) -> Realisation:
        """Integer while the channel scales are shifts of one scale."""
        return super().realisation(values) if self._shifts else UNEVEN

    @property
    def parameter_bytes(self) -> float:
        """One scale, one zero point, two bits per channel."""
        return SCALE_BYTES + ZERO_POINT_BYTES * self.zero_points + FACTOR_BITS * self.scale.numel() / 8

    @property
    def _shifts(self) -> bool:
        factors = self.factors
        exact = torch.equal(self.scale.detach(), self.free_scales * factors)
        return exact and bool(factors.max() <= LARGEST_FACTOR)


def power_of_two_scales(x: Tensor, minimum: Tensor, maximum: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """PTF: per channel one of four scales that differ by powers of two (FQ-ViT, Lin et al. 2022, Sec. 4.1).

    The widest scale ``s8`` and the shared zero point come from the extremes over all channels; each channel takes the
    factor in {1, 2, 4, 8} times ``s8 / 8`` with the least squared error, the smaller factor on a tie.

    Args:
        x: Values ``(channels, n)`` that score the factors.
        minimum: Per-channel minimum ``(channels,)``.
        maximum: Per-channel maximum ``(channels,)``.
        bits: Width of the unsigned code.

    Returns:
        Scale ``(channels,)`` and zero point ``(1,)``.
    """
    low, high = integer_range(bits, signed=False)
    widest, zero_point = affine_parameters(
        minimum.min().reshape(1), maximum.max().reshape(1), bits, signed=False, symmetric=False
    )
    candidates = [widest / 8, widest / 4, widest / 2, widest]
    errors = torch.stack([(x - fake_quantize(x, s, zero_point, low, high)).square_().mean(dim=1) for s in candidates])
    return torch.cat(candidates)[errors.argmin(dim=0)], zero_point
