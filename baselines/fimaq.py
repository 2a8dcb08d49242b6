"""FIMA-Q: block reconstruction with an estimate of the Fisher information (Wu et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.activation_scales import scale_tokens
from harness.baselines.engines.reconstruction import reconstruct
from harness.baselines.engines.reconstruction_units import SHORT, ReconstructionConfig
from harness.baselines.engines.switches import DropShare, ScaleRate, Switches
from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.placement import keeps_deployed
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class FimaqConfig(ReconstructionConfig):
    """Settings of ``fimaq``; its authors put it on ``adalog(preset=uniform)``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "short": SHORT}

    preset: Annotated[
        Literal["paper", "short"], Field(description="paper: the released code; short: the same in 500 steps of lr=0.01")
    ] = "paper"
    rank: Annotated[int, Field(ge=1, description="pairs of the low-rank estimate; the released configuration has 5")] = 5
    drop: DropShare = 0.5
    scale_lr: ScaleRate = 4e-5
    tokens: Annotated[
        bool, Field(description="what linear operations read gets a scale for each token, all equal before they are learned")
    ] = True


@register(
    "fimaq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=4,
    paper="Wu et al., FIMA-Q: Post-Training Quantization for Vision Transformers by Fisher Information Matrix "
    "Approximation, CVPR 2025",
)
class Fimaq(Method[FimaqConfig]):
    """QDrop's reconstruction with a diagonal and low-rank Fisher loss, and the divergence for the classifier."""

    Config = FimaqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 3, "rank": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Block after block, inputs mixed from both networks."""
        c = self.config
        if c.tokens:
            keeps_deployed(model, "fimaq gives what linear operations read a scale for each token", "fimaq(tokens=false)")
            context.notes["scaled_by_token"] = scale_tokens(model, calibration.images[:1])
        switches = Switches(inputs="mixed", drop=c.drop, scale_lr=c.scale_lr, loss="fima", rank=c.rank)
        reconstruct(model, calibration, context, c, switches)
