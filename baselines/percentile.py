"""Baseline ``percentile``: ranges are quantiles 0.00001 and 0.99999 of each batch."""

from __future__ import annotations

from harness.data import CalibrationSet
from harness.engines.uniform_scheme import UniformConfig, apply_uniform
from harness.method.base import Context, Method
from harness.method.registry import Role, register
from harness.quant.network.qmodel import QuantizedModel


@register(
    "percentile",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Li et al., Fully Quantized Network for Object Detection, CVPR 2019; quantile 0.99999 as in FQ-ViT's code",
)
class Percentile(Method[UniformConfig]):
    """Quantize the output of every arithmetic operation with extreme quantiles of the calibration images."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "percentile")
