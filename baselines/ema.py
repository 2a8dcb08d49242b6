"""Baseline ``ema``: ranges are a moving average of batch extremes."""

from __future__ import annotations

from harness.data import CalibrationSet
from harness.engines.uniform_scheme import UniformConfig, apply_uniform
from harness.method.base import Context, Method
from harness.method.registry import Role, register
from harness.quant.network.qmodel import QuantizedModel


@register(
    "ema",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Krishnamoorthi, Quantizing deep convolutional networks, 2018; momentum 0.01 as in FQ-ViT's code",
)
class Ema(Method[UniformConfig]):
    """Quantize the output of every arithmetic operation with a moving average of batch extremes."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "ema")
