"""BRECQ: learn the rounding of all weights of a block together (Li et al., ICLR 2021)."""

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
class BrecqConfig(ReconstructionConfig):
    """Settings of ``brecq``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"iterations": 20000, "lr": 1e-3}}

    preset: Annotated[Literal["none", "paper"], Field(description="paper: 20000 iterations per unit, lr=0.001")] = "none"
    loss: Annotated[
        Literal["mse", "fisher"],
        Field(description="squared error (the released command) or weighted by squared gradients (paper, Eq. 10)"),
    ] = "mse"
    scale_lr: Annotated[
        float, Field(ge=0, description="learning rate of activation scales, learned with the rounding; 0 leaves them alone")
    ] = 0.0


@register(
    "brecq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Li et al., BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction, ICLR 2021",
)
class Brecq(Method[BrecqConfig]):
    """Learn the rounding of the weights of each block against the block's output."""

    Config = BrecqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block; activation scales are learned with the rounding if at all (released code: a stage later)."""
        config = self.config
        reconstruct(model, calibration, context, config, Switches(loss=config.loss, scale_lr=config.scale_lr))
