"""LS-ViT: block reconstruction with a Hessian that is fitted by least squares (CVPR 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.reconstruction import reconstruct
from harness.baselines.engines.reconstruction_units import SHORT, ReconstructionConfig
from harness.baselines.engines.switches import DropShare, ScaleRate, Switches
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class LsvitConfig(ReconstructionConfig):
    """Settings of ``lsvit``; like FIMA-Q it is taken to start from ``adalog(preset=uniform)``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "short": SHORT}

    preset: Annotated[
        Literal["paper", "short"], Field(description="paper: as published; short: the same in 500 steps of lr=0.01")
    ] = "paper"
    drop: DropShare = 0.5
    scale_lr: ScaleRate = 4e-5


@register(
    "lsvit",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    paper="LS-ViT: Least-Squares Hessian Based Block Reconstruction for Low-Bit Post-Training Quantization of Vision "
    "Transformers, CVPR 2026",
)
class Lsvit(Method[LsvitConfig]):
    """QDrop's reconstruction with a diagonal and rank-one Hessian, fitted by least squares before each block is learned."""

    Config = LsvitConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        c = self.config
        switches = Switches(inputs="mixed", drop=c.drop, scale_lr=c.scale_lr, loss="lsvit")
        reconstruct(model, calibration, context, c, switches)
