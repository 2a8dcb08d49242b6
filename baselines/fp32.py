"""Baseline ``fp32``: the full-precision network through the same pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registry import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class Fp32Config:
    """``fp32`` has no settings."""


@register("fp32", role=Role.SCHEME, version=1, paper="")
class Fp32(Method[Fp32Config]):
    """Quantize nothing: the reference every other stack is compared with."""

    Config = Fp32Config

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Leave the model without quantizers."""
        model.quantizers.clear()
