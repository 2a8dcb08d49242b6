"""FIMA-Q: block reconstruction with an estimate of the Fisher information (Wu et al., CVPR 2025)."""

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
class FimaqConfig(ReconstructionConfig):
    """Settings of ``fimaq``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"iterations": 20000, "lr": 1e-3}}

    preset: Annotated[Literal["none", "paper"], Field(description="paper: 20000 iterations per unit, lr=0.001")] = "none"
    rank: Annotated[int, Field(ge=1, description="pairs of the low-rank estimate; the released configuration has 5")] = 5
    drop: Annotated[float, Field(ge=0, le=1, description="share of activations and inputs left unquantized (QDrop)")] = 0.5
    scale_lr: Annotated[float, Field(ge=0, description="learning rate of activation scales, cosine schedule")] = 4e-5


@register(
    "fimaq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Wu et al., FIMA-Q: Post-Training Quantization for Vision Transformers by Fisher Information Matrix "
    "Approximation, CVPR 2025",
)
class Fimaq(Method[FimaqConfig]):
    """QDrop's reconstruction with a diagonal and low-rank Fisher loss."""

    Config = FimaqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 3, "rank": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        config = self.config
        switches = Switches(inputs="mixed", drop=config.drop, scale_lr=config.scale_lr, loss="fima", rank=config.rank)
        reconstruct(model, calibration, context, config, switches)
