"""QDrop: block reconstruction with activations that are quantized at random (Wei et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.outer_layers import widen_outer_layers
from harness.baselines.engines.reconstruction import reconstruct
from harness.baselines.engines.reconstruction_units import SHORT, ReconstructionConfig
from harness.baselines.engines.switches import ScaleRate, Switches
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class QdropConfig(ReconstructionConfig):
    """Settings of ``qdrop``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "short": SHORT,
        "adalog": {"inputs": "full", "drop": 0.0, "loss": "tenth"},
    }

    preset: Annotated[
        Literal["paper", "short", "adalog"],
        Field(
            description="paper: the released code; short: the same in 500 steps of lr=0.01; adalog: the reconstruction of "
            "AdaLog's released code, its published adalog+qdrop(preset=adalog)"
        ),
    ] = "paper"
    inputs: Annotated[
        Literal["mixed", "full"], Field(description="what blocks read: a mixture of both networks, or full precision")
    ] = "mixed"
    loss: Annotated[
        Literal["mse", "tenth"],
        Field(description="squared error, or a tenth of it and the divergence of the classifier (AdaLog's code)"),
    ] = "mse"
    drop: Annotated[float, Field(ge=0, le=1, description="share of activations and inputs left unquantized")] = 0.5
    scale_lr: ScaleRate = 4e-5
    outer_bits: Annotated[
        int,
        Field(
            ge=0,
            le=8,
            description="least width of the first and last layer's weights and of what the last one reads: 8 in QDrop's "
            "own code (convolutional networks); 0, the trial's, in every published table of vision transformers",
        ),
    ] = 0


@register(
    "qdrop",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=4,
    paper="Wei et al., QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization, ICLR 2022",
)
class Qdrop(Method[QdropConfig]):
    """Learn roundings and activation scales while a share of the activations stays unquantized."""

    Config = QdropConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        c = self.config
        context.notes["outer_layers"] = widen_outer_layers(model, c.outer_bits)
        switches = Switches(inputs=c.inputs, drop=c.drop, scale_lr=c.scale_lr, loss=c.loss)
        reconstruct(model, calibration, context, c, switches)
