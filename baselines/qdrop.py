"""QDrop: block reconstruction with activations that are quantized at random (Wei et al., ICLR 2022)."""

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
class QdropConfig(ReconstructionConfig):
    """Settings of ``qdrop``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"iterations": 20000, "lr": 1e-3}}

    preset: Annotated[Literal["none", "paper"], Field(description="paper: 20000 iterations per unit, lr=0.001")] = "none"
    drop: Annotated[float, Field(ge=0, le=1, description="share of activations and inputs left unquantized")] = 0.5
    scale_lr: Annotated[float, Field(ge=0, description="learning rate of activation scales, cosine schedule")] = 4e-5


@register(
    "qdrop",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Wei et al., QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization, ICLR 2022",
)
class Qdrop(Method[QdropConfig]):
    """Learn roundings and activation scales while a share of the activations stays unquantized."""

    Config = QdropConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        config = self.config
        switches = Switches(inputs="mixed", drop=config.drop, scale_lr=config.scale_lr)
        reconstruct(model, calibration, context, config, switches)
