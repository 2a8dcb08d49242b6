"""Uniform codes of a shifted logarithm, for attention probabilities (Zhong et al., I&S-ViT, TPAMI 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.realisation import SHIFTED, Realisation
from harness.quant.format.registration import number_format


@number_format("shift_uniform_log2")
@dataclass(frozen=True)
class ShiftUniformLog2(Nonuniform):
    """``2^round(c D + l) - e`` with codes ``c`` at equal distances ``D`` of ``log2(x + e)``, between ``l`` and ``h``.

    The scale ``(3,)`` holds the shift ``e`` and both ends ``l`` and ``h``. Powers are whole, so that hardware shifts: codes
    closer together than one power share a value.

    Attributes:
        released: As in the forward pass of the released code: ``2^bits + 1`` codes between the ends instead of ``2^bits``.
    """

    released: bool = field(default=False, kw_only=True)

    @classmethod
    def on(cls, x: Tensor, bits: int, shift: float, *, released: bool = False) -> Self:
        """The format whose ends are those of some values, by their shifted logarithms.

        Args:
            x: Non-negative values.
            bits: Width of the code.
            shift: ``e``, positive.
            released: As above.
        """
        low, high = torch.aminmax(torch.log2(x + shift))
        scale = torch.stack([torch.full_like(low, shift), low, high])
        return cls(bits, scale, x.amin().reshape(1), x.amax().reshape(1), released=released)

    @property
    def levels(self) -> int:
        """``2^bits``; one more as released."""
        return int(2**self.bits) + self.released

    @property
    def learnable_scales(self) -> Tensor:
        """The shift ``(1,)``; the ends stay."""
        return self.scale.detach()[:1]

    def with_learned_scales(self, values: Tensor) -> Self:
        """Another shift ``(1,)``."""
        return replace(self, scale=torch.cat([values, self.scale.detach()[1:]]))

    def quantize(self, x: Tensor) -> Tensor:
        """The power whose code is nearest, less the shift."""
        return self._power(self._position(x).round_()).sub_(self.scale[0])

    def codes(self, x: Tensor) -> Tensor:
        """From the lower end on."""
        return self._position(x).round_().clamp_(0, self.levels - 1).to(torch.int32)

    def straight_through(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``quantize``, differentiable in ``x`` and the shift: rounding passes gradients on, ends cut them off."""
        shift = self.scale[0]
        with torch.no_grad():
            code = self._position(x).round_()
            power = self._power(code)
            slope = torch.where((code >= 0) & (code < self.levels), power / (x + shift), 0.0)
        through = slope * (x + shift)
        quantized = power + (through - through.detach()) - shift
        return quantized if kept is None else torch.where(kept, x, quantized)

    def realisation(self, values: Tensor | None) -> Realisation:
        """Shifts; what is subtracted from all values is a constant."""
        return SHIFTED if values is None else super().realisation(values)

    def _position(self, x: Tensor) -> Tensor:
        shift, low, _ = self.scale
        return torch.log2(x + shift).sub_(low).div_(self._step)

    def _power(self, code: Tensor) -> Tensor:
        codes = code.clamp(0, self.levels - 1)
        return torch.exp2(torch.round(codes * self._step + self.scale[1]))

    @property
    def _step(self) -> Tensor:
        _, low, high = self.scale
        step: Tensor = ((high - low) / (self.levels - 1)).clamp_min(torch.finfo(high.dtype).eps)
        return step
