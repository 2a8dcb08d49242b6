"""Negative powers of two that an integer softmax yields by itself (FQ-ViT's Log-Int-Softmax, Lin et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from harness.quant.format import integer
from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.realisation import SHIFTS, Realisation
from harness.quant.format.registration import number_format


@number_format("log_int_softmax")
@dataclass(frozen=True)
class LogIntSoftmax(Nonuniform):
    """``2^-q`` and zero. Acts inside the softmax, whose scale comes from the scores: nothing is calibrated."""

    @classmethod
    def on(cls, device: torch.device, bits: int) -> Self:
        """The format with codes of this width."""
        empty = torch.empty(0, device=device)
        return cls(bits, empty, empty, empty)

    @property
    def levels(self) -> int:
        """``2^bits`` powers and zero."""
        return int(2**self.bits) + 1

    def quantize(self, x: Tensor) -> Tensor:
        """Probabilities as the integer softmax rounds them; its own outputs stay."""
        return integer.negative_powers(1 / x, self.bits)

    def on_grid(self, values: Tensor | None) -> bool:
        """Probabilities are shifts; a weight is not meant to be."""
        return values is None

    def realisation(self, values: Tensor | None) -> Realisation:
        """Powers of two are codes of their own: a product with one is a shift."""
        return SHIFTS if values is None else super().realisation(values)

    def codes(self, x: Tensor) -> Tensor:
        """``q``; the code ``2^bits`` is zero."""
        return integer.power_codes(1 / x).clamp_max(2**self.bits).to(torch.int32)
