"""BRECQ: learn the rounding of all weights of a block together, then its activation scales (Li et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.outer_layers import widen_outer_layers
from harness.baselines.engines.reconstruction import reconstruct
from harness.baselines.engines.reconstruction_units import SHORT, ReconstructionConfig
from harness.baselines.engines.switches import Switches
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class BrecqConfig(ReconstructionConfig):
    """Settings of ``brecq``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "short": {**SHORT, "scale_iterations": 125},
        "joint": {**SHORT, "activations": "quantized", "scale_iterations": 0, "outer_bits": 0},
    }

    preset: Annotated[
        Literal["paper", "short", "joint"],
        Field(
            description="paper: the released code; short: the same in 500 steps of lr=0.01 and 125 for scales; "
            "joint (ours): roundings are learned with activations quantized, no stage for scales, all layers at the "
            "trial's bits, 500 steps of lr=0.01"
        ),
    ] = "paper"
    activations: Annotated[
        Literal["full", "quantized"],
        Field(description="activations while roundings are learned: in floating point as released, or quantized"),
    ] = "full"
    loss: Annotated[
        Literal["mse", "fisher"],
        Field(description="squared error (the released command) or weighted by squared gradients (paper, Eq. 10)"),
    ] = "mse"
    scale_iterations: Annotated[
        int, Field(ge=0, description="steps per block of the stage that learns activation scales, behind the roundings")
    ] = 5000
    scale_lr: Annotated[float, Field(ge=0, description="learning rate of that stage, cosine schedule")] = 4e-4
    scale_power: Annotated[float, Field(gt=0, description="exponent of that stage's error")] = 2.4
    outer_bits: Annotated[
        int,
        Field(
            ge=0,
            le=8,
            description="least width of the first and last layer's weights and of what the last one reads; "
            "the first layer is then rounded to nearest. 8 as released; 0: the trial's",
        ),
    ] = 8


@register(
    "brecq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=4,
    paper="Li et al., BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction, ICLR 2021",
)
class Brecq(Method[BrecqConfig]):
    """Learn the rounding of the weights of each block against the block's output."""

    Config = BrecqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2, "scale_iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Roundings block after block, then scales block after block."""
        c = self.config
        context.notes["outer_layers"] = widen_outer_layers(model, c.outer_bits)
        switches = Switches(
            activations=c.activations,
            loss=c.loss,
            scale_lr=c.scale_lr if c.scale_iterations else 0.0,
            scale_steps=c.scale_iterations,
            scale_power=c.scale_power,
            first=not c.outer_bits,
        )
        reconstruct(model, calibration, context, c, switches)
