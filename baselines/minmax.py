"""Baseline ``minmax``: ranges are the extremes seen on the calibration images."""

from __future__ import annotations

from harness.data import CalibrationSet
from harness.engines.uniform_scheme import UniformConfig, apply_uniform
from harness.method.base import Context, Method
from harness.method.registry import Role, register
from harness.quant.network.qmodel import QuantizedModel


@register(
    "minmax",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Jacob et al., Quantization and Training of Neural Networks, CVPR 2018",
)
class MinMax(Method[UniformConfig]):
    """Quantize the output of every arithmetic operation with the extremes of the calibration images."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "minmax")
