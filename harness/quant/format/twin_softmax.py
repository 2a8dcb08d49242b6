"""Two ranges for attention probabilities, fine steps near zero (Yuan et al., PTQ4ViT, ECCV 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.registration import number_format
from harness.quant.format.straight_through import fake_quantize_straight_through


@number_format("twin_softmax")
@dataclass(frozen=True)
class TwinSoftmax(Nonuniform):
    """The scale ``(2,)`` holds the steps of the small range and of the large one.

    Attributes:
        summed: As in the released code: a value is the sum of its parts below and above the small range's end.
    """

    summed: bool = field(default=False, kw_only=True)

    def quantize(self, x: Tensor) -> Tensor:
        """The nearest value of the range that ``x`` lies in, or the sum of both parts."""
        twin = summed_twin_softmax if self.summed else twin_softmax
        return twin(x, self.scale, self.bits)

    @property
    def learnable_scales(self) -> Tensor:
        """Both steps."""
        return self.free_scales

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and both steps; which range a value is in has no gradient."""
        half, zero = 2 ** (self.bits - 1), torch.zeros_like(self.scale[0])
        below, above = x, x
        if self.summed:
            split = (half - 1) * self.scale[0]
            below, above = torch.minimum(x, split), torch.maximum(x, split)
        fine = fake_quantize_straight_through(below, self.scale[0], zero, 0, half - 1)
        coarse = fake_quantize_straight_through(above, self.scale[1], zero, 0, half - 1)
        quantized = fine + coarse if self.summed else torch.where(x < half * self.scale[0], fine, coarse)
        return quantized if kept is None else torch.where(kept, x, quantized)

    def codes(self, x: Tensor) -> Tensor:
        """Codes of the large range follow those of the small one."""
        half = 2 ** (self.bits - 1)
        if self.summed:
            end = (half - 1) * self.scale[0]
            fine, coarse = _parts(x, self.scale, half)
            return torch.where(x < end, fine, coarse + half).to(torch.int32)
        fine, coarse = _codes(x, self.scale, half)
        return torch.where(x < half * self.scale[0], fine, coarse + half).to(torch.int32)

    def on_grid(self, values: Tensor | None) -> bool:
        """Both ranges have integer codes; a weight is not meant to have them."""
        return values is None


def twin_softmax(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Two ranges of ``2^(bits-1)`` codes: fine steps near zero, steps of ``1 / 2^(bits-1)`` above (PTQ4ViT, Sec. 3.2).

    Args:
        x: Probabilities.
        scales: Step of the small range and of the large one, ``(2,)``.
        bits: Width of the code, one bit of it tells the range.
    """
    half = 2 ** (bits - 1)
    fine, coarse = _codes(x, scales, half)
    return torch.where(x < half * scales[0], fine * scales[0], coarse * scales[1])


def summed_twin_softmax(x: Tensor, scales: Tensor, bits: int) -> Tensor:
    """What PTQ4ViT's released code does: the part of a value up to the split in fine steps plus the rest in coarse ones.

    ``round(min(x, split) / fine) fine + round(max(x, split) / coarse) coarse`` with ``split = (2^(bits-1) - 1) fine``.
    One is a code if ``coarse = 1 / (2^(bits-1) - 1)``, but values above the split come out larger by the split.

    Args:
        x: Probabilities.
        scales: Fine and coarse step, ``(2,)``.
        bits: Width of the code, one bit of it tells the range.
    """
    fine, coarse = _parts(x, scales, 2 ** (bits - 1))
    return fine.mul_(scales[0]) + coarse.mul_(scales[1])


def _parts(x: Tensor, scales: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Codes of the part of a value below the split, and of the value but at least the split."""
    split = (half - 1) * scales[0]
    fine, coarse = torch.minimum(x, split) / scales[0], torch.maximum(x, split) / scales[1]
    return fine.round_().clamp_(0, half - 1), coarse.round_().clamp_(0, half - 1)


def _codes(x: Tensor, scales: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Codes in the small range and in the large one."""
    return torch.round(x / scales[0]).clamp(0, half - 1), torch.round(x / scales[1]).clamp(0, half - 1)
