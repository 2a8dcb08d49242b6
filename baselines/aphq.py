"""APHQ-ViT: block reconstruction weighted by the average perturbation Hessian (Wu et al., CVPR 2025)."""

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
class AphqConfig(ReconstructionConfig):
    """Settings of ``aphq``; its authors put it on ``adalog(preset=uniform)``, behind ``relumlp``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "short": SHORT}

    preset: Annotated[
        Literal["paper", "short"], Field(description="paper: the released code; short: the same in 500 steps of lr=0.01")
    ] = "paper"
    drop: DropShare = 0.5
    scale_lr: ScaleRate = 4e-5


@register(
    "aphq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    paper="Wu et al., APHQ-ViT: Post-Training Quantization with Average Perturbation Hessian Based Reconstruction for "
    "Vision Transformers, CVPR 2025",
)
class Aphq(Method[AphqConfig]):
    """QDrop's reconstruction weighted by how gradients change when outputs are perturbed; divergence for the classifier."""

    Config = AphqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        c = self.config
        switches = Switches(inputs="mixed", drop=c.drop, scale_lr=c.scale_lr, loss="aphq")
        reconstruct(model, calibration, context, c, switches)
