"""AdaRound's soft rounding: a variable for each weight decides by gradients whether it is rounded up or down."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import along

# AdaRound's stretched sigmoid: h(V) = clip((ZETA - GAMMA) sigmoid(V) + GAMMA, 0, 1).
ZETA, GAMMA = 1.1, -0.1


class SoftRounding:
    """The soft rounding of one weight: ``s (clip(floor(W / s) + h(V) + z) - z)`` (AdaRound, Eq. 22 and 23).

    Args:
        weight: The weight before its quantizer.
        quantizer: Its calibrated quantizer; scale and zero point stay.
    """

    def __init__(self, weight: Tensor, quantizer: Affine) -> None:
        axis = quantizer.axis or 0
        self.scale = along(quantizer.scale.detach(), weight.ndim, axis)
        self.zero_point = along(quantizer.zero_point, weight.ndim, axis)
        self.low, self.high = quantizer.code_range
        position = weight / self.scale
        self.floor = position.floor()
        rest = (position - self.floor).clamp(1e-4, 1 - 1e-4)
        self.variable = (-torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1)).requires_grad_(True)

    def up(self) -> Tensor:
        """How far each weight is rounded up, between 0 and 1."""
        return ((ZETA - GAMMA) * torch.sigmoid(self.variable) + GAMMA).clamp(0, 1)

    def soft(self) -> Tensor:
        """The weight while learning."""
        return self._dequantized(self.up())

    def hard(self) -> Tensor:
        """The weight with every rounding decided: on the quantizer's grid, at most one step from the weight."""
        return self._dequantized((self.variable.detach() >= 0).to(self.floor.dtype))

    def undecided(self, beta: float) -> Tensor:
        """``sum(1 - |2 h - 1|^beta)``: zero when every rounding is up or down."""
        return (1 - (2 * self.up() - 1).abs().pow(beta)).sum()

    def _dequantized(self, up: Tensor) -> Tensor:
        codes = (self.floor + up + self.zero_point).clamp(self.low, self.high)
        return (codes - self.zero_point) * self.scale
