"""Affine number formats as what runtimes have: one byte per code, a scale, an integer zero point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.row_correction import row_gain_and_offset

BYTE_MIN, BYTE_MAX = 0, 255
SIGNED_MIN, SIGNED_MAX = -128, 127


@dataclass(frozen=True)
class ActivationGrid:
    """One scale and zero point for a whole activation, codes in one unsigned byte: the same values as the format has.

    Attributes:
        scale: Distance of two codes.
        zero_point: Code of zero, 0..255.
        low: Smallest code in use.
        high: Largest code in use.
        offset: What is added to every value: nonzero where zero is no code of the format.
    """

    scale: float
    zero_point: int
    low: int
    high: int
    offset: float = 0.0

    @property
    def fills_byte(self) -> bool:
        """Whether saturation of the byte is the format's own."""
        return self.low == BYTE_MIN and self.high == BYTE_MAX

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value, the offset left out."""
        return (self.low - self.zero_point) * self.scale, (self.high - self.zero_point) * self.scale


def activation_grid(quantizer: Affine, scale: Tensor | None = None) -> ActivationGrid:
    """The grid of a format with one scale.

    Args:
        quantizer: Integer zero point, one for the tensor.
        scale: Another scale ``(1,)``; None for the format's own.
    """
    low, high = quantizer.code_range
    zero_point = int(quantizer.zero_point.item())
    unit = float((quantizer.scale if scale is None else scale).item())
    shift = -low  # signed codes become unsigned ones with the zero point in the middle
    inside = min(max(zero_point, low), high)
    return ActivationGrid(unit, inside + shift, low + shift, high + shift, (inside - zero_point) * unit)


@dataclass(frozen=True)
class WeightCodes:
    """A weight or constant in one signed byte per element.

    Attributes:
        codes: int8, shaped like the tensor.
        scale: ``(channels,)`` or ``(1,)``, float32.
        zero_point: int8, shaped like ``scale``.
        axis: Channel axis; None for one scale.
        bits: Width of the codes in use.
        offset: Added to every element of an output channel, ``(channels,)``; None for nothing (Banner's bias correction).
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    axis: int | None
    bits: int
    offset: Tensor | None = None

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is zero."""
        return not bool(self.zero_point.any())

    def per_channel(self, channels: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point with an entry for each of that many channels."""
        return self.scale.expand(channels).contiguous(), self.zero_point.expand(channels).contiguous()


def weight_codes(quantizer: Affine, weight: Tensor, reference: Tensor) -> WeightCodes:
    """The codes that a weight becomes.

    Args:
        quantizer: Integer zero points.
        weight: What is rounded.
        reference: Whose mean and deviation a correction restores: its gain goes into the scale, its offset stays apart.
    """
    low, high = quantizer.code_range
    shift = 0 if low < 0 else -((high + 1) // 2)
    codes = (quantizer.codes(weight) + shift).to(torch.int8)
    scale, zero_point = quantizer.scale.detach().float(), quantizer.zero_point.detach() + shift
    scale, zero_point = torch.broadcast_tensors(scale, zero_point)
    offset = None
    axis = quantizer.axis
    if quantizer.correction:
        gain, offset = row_gain_and_offset(reference, quantizer.quantize(weight), quantizer.correction)
        channels = len(gain)
        scale, zero_point, axis = scale.expand(channels) * gain, zero_point.expand(channels), 0
    return WeightCodes(codes, scale.contiguous(), zero_point.to(torch.int8).contiguous(), axis, quantizer.bits, offset)


def whole_zero_points(quantizer: Affine) -> bool:
    """Whether zero points are integers."""
    return torch.equal(quantizer.zero_point, quantizer.zero_point.round())


def in_signed_byte(quantizer: Affine) -> bool:
    """Whether zero points are codes, as a stored weight needs them."""
    low, high = quantizer.code_range
    return bool((quantizer.zero_point >= low).all() and (quantizer.zero_point <= high).all())
