"""The uniform format: one free scale per tensor or per channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from harness.quant.format.affine import Affine, AffineSpec
from harness.quant.format.arithmetic import free_parameters
from harness.quant.format.registration import number_format


@number_format("uniform")
@dataclass(frozen=True)
class Uniform(Affine):
    """Any range can be given to it, and its scale can follow gradients."""

    @property
    def granularity(self) -> str:
        """Per ``tensor`` or per ``channel``."""
        return "tensor" if self.axis is None else "channel"

    def with_range(self, minimum: Tensor, maximum: Tensor) -> Uniform:
        """The same format with scale and zero point of another range, ``(1,)`` or one entry per channel."""
        scale, zero_point = self.spec.parameters(minimum, maximum)
        return replace(self, scale=scale, zero_point=zero_point, minimum=minimum, maximum=maximum)


def from_range(spec: AffineSpec, minimum: Tensor, maximum: Tensor) -> Uniform:
    """The uniform format of a range, ``(1,)`` or one entry per channel."""
    return Uniform.of(spec, *spec.parameters(minimum, maximum), minimum, maximum)


def from_free_range(spec: AffineSpec, minimum: Tensor, maximum: Tensor) -> Uniform:
    """The unsigned uniform format of a range that need not contain zero, ``(1,)`` or one entry per channel."""
    return Uniform.of(spec, *free_parameters(minimum, maximum, spec.bits), minimum, maximum)
