"""AdaRound: learn for each weight whether it is rounded up or down, layer by layer (Nagel et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.reconstruction import reconstruct
from harness.baselines.engines.reconstruction_units import SHORT, ReconstructionConfig
from harness.baselines.engines.switches import Switches
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class AdaroundConfig(ReconstructionConfig):
    """Settings of ``adaround``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "short": SHORT,
        "joint": {**SHORT, "activations": "quantized"},
    }

    preset: Annotated[
        Literal["paper", "short", "joint"],
        Field(
            description="paper: as published; short: the same in 500 steps of lr=0.01; joint (ours): with activations "
            "quantized, 500 steps of lr=0.01"
        ),
    ] = "paper"
    iterations: Annotated[int, Field(ge=0, description="steps per layer")] = 10_000
    activations: Annotated[
        Literal["full", "quantized"],
        Field(description="activations while roundings are learned: in floating point as published, or quantized"),
    ] = "full"
    inputs: Annotated[
        Literal["quantized", "full"], Field(description="layers see inputs from quantized layers (asymmetric), or not")
    ] = "quantized"


@register(
    "adaround",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=3,
    paper="Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020",
)
class Adaround(Method[AdaroundConfig]):
    """Learn the rounding of each weight against its layer's output."""

    Config = AdaroundConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Layer after layer; scales stay."""
        c = self.config
        reconstruct(model, calibration, context, c, Switches(unit="layer", inputs=c.inputs, activations=c.activations))
