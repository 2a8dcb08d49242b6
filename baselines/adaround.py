"""AdaRound: learn for each weight whether it is rounded up or down, layer by layer (Nagel et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.reconstruction import ReconstructionConfig, Switches, reconstruct
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class AdaroundConfig(ReconstructionConfig):
    """Settings of ``adaround``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"iterations": 10000, "lr": 1e-3}}

    preset: Annotated[Literal["none", "paper"], Field(description="paper: 10000 iterations per unit, lr=0.001")] = "none"
    inputs: Annotated[
        Literal["quantized", "full"], Field(description="layers see inputs from quantized layers (asymmetric), or not")
    ] = "quantized"


@register(
    "adaround",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=1,
    paper="Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020",
)
class Adaround(Method[AdaroundConfig]):
    """Learn the rounding of each weight against its layer's output."""

    Config = AdaroundConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layer after layer; scales stay."""
        config = self.config
        reconstruct(model, calibration, context, config, Switches(unit="layer", inputs=config.inputs))
