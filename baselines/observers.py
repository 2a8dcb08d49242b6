"""The observer baselines ``minmax``, ``ema`` and ``percentile``, and ``fp32``, which quantizes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.sets import CalibrationSet
from harness.engines.uniform_scheme import UniformConfig, apply_uniform
from harness.method.base import Context, Method
from harness.method.registration import Role, register
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


@register(
    "minmax",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Jacob et al., Quantization and Training of Neural Networks, CVPR 2018",
)
class MinMax(Method[UniformConfig]):
    """Ranges are the extremes of the calibration images; by default of every arithmetic operation's output."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "minmax")


@register(
    "ema",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Krishnamoorthi, Quantizing deep convolutional networks, 2018; momentum 0.01 as in FQ-ViT's code",
)
class Ema(Method[UniformConfig]):
    """Ranges are a moving average of batch extremes; by default of every arithmetic operation's output."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "ema")


@register(
    "percentile",
    role=Role.SCHEME,
    provides=("scheme", "scales"),
    version=1,
    paper="Li et al., Fully Quantized Network for Object Detection, CVPR 2019; quantile 0.99999 as in FQ-ViT's code",
)
class Percentile(Method[UniformConfig]):
    """Ranges are extreme quantiles of each batch; by default of every arithmetic operation's output."""

    Config = UniformConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Install weight quantizers and calibrate activations in one pass."""
        apply_uniform(model, calibration, context, self.config, "percentile")
