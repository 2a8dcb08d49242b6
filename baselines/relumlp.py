"""The MLP reconstruction of APHQ-ViT: a network with ReLU instead of GELU (Wu et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.mlp_reconstruction import MlpEffort, reconstruct_mlp
from harness.baselines.engines.mlps import Mlp, mlps_of
from harness.baselines.engines.reconstruction_losses import PredictionGradients
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import walk
from harness.errors import IncompatibleError
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import FLOAT_BITS
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

TEMPERATURE = 20.0  # of predictions, in the released configurations


@dataclass(frozen=True)
class RelumlpConfig:
    """Settings of ``relumlp``; its authors go on with ``adalog(preset=uniform)+aphq``."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "short": {"iterations": 500, "lr": 4e-4}}

    preset: Annotated[
        Literal["paper", "short"],
        Field(description="paper: the released code; short (ours): 500 steps of a ten times higher rate"),
    ] = "paper"
    iterations: Annotated[int, Field(ge=0, description="steps per MLP")] = 20_000
    batch: Annotated[int, Field(ge=1, description="images per step")] = 32
    lr: Annotated[float, Field(gt=0, description="learning rate of weights and biases, cosine schedule")] = 4e-5
    percentile: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of the positive activations that are not cut in the second loss; 0.99 in the paper and at 3 "
            "bits, 0.98 in the released configurations of 2 and 4 bits",
        ),
    ] = 0.99
    clipped: Annotated[float, Field(ge=0, description="weight of the second loss, with activations cut")] = 2.0
    loss: Annotated[
        Literal["aphq", "mse"], Field(description="weighted by the average perturbation Hessian, or plain squared error")
    ] = "aphq"
    images: Annotated[int, Field(ge=1, description="calibration images used, if the trial has as many")] = 1024


@register(
    "relumlp",
    role=Role.TRANSFORM,
    excludes=("rotate",),  # parts of a rotated network run with its changed weights only, and so with ReLU as every target
    paper="Wu et al., APHQ-ViT: Post-Training Quantization with Average Perturbation Hessian Based Reconstruction for "
    "Vision Transformers, CVPR 2025",
)
class Relumlp(Method[RelumlpConfig]):
    """Replace GELU by ReLU and learn each MLP's weights again: an altered network, which its records say; comes first."""

    Config = RelumlpConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 60, "lr": 0.002, "batch": 16}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """MLP after MLP; leaves those whose activations are not quantized. Interruptible after each segment.

        Raises:
            IncompatibleError: The network has no MLP with GELU.
        """
        if not any(context.bits.at(site).activation < FLOAT_BITS for site in model.sites.values()):
            return
        mlps = mlps_of(model)
        if not mlps:
            raise IncompatibleError(
                f"relumlp replaces the GELU between two linear operations, {model.name} has none",
                "leave relumlp out, or use a transformer with GELU such as vit_tiny or deit_tiny",
            )
        mlps = _quantized(model, mlps, context.bits)
        if not mlps:
            return
        c = self.config
        images = first_images(calibration, c.images, context)
        effort = MlpEffort(c.iterations, c.batch, c.lr, c.percentile, c.clipped, c.loss)
        gradients = PredictionGradients(model, images.split(c.batch), context.budget, TEMPERATURE)
        kept = context.checkpoint.resume(model)
        done, losses = (kept[0]["done"], kept[0]["losses"]) if kept else (0, {})
        with context.progress.task("relumlp", c.iterations * sum(map(len, mlps.values()))) as task:
            for visit in walk(model, images, context, batch=c.batch, full=True, quantized=False):
                for mlp in mlps.get(visit.index, []):
                    if visit.index < done:
                        task.advance(c.iterations)
                        continue
                    name = mlp.first.site.name
                    losses[name] = reconstruct_mlp(model, mlp, visit, gradients, context, effort, task)
                if visit.index >= done and visit.index in mlps:
                    context.checkpoint.block_done(model, {"done": visit.index + 1, "losses": dict(losses)}, {})
        context.notes.update(rectified=len(model.edits.rectified), losses_and_cuts=losses)


def _quantized(model: QuantizedModel, mlps: Mapping[int, Sequence[Mlp]], bits: Bits) -> dict[int, list[Mlp]]:
    """The MLPs whose activation function's output is quantized somewhere: ReLU only helps the quantizer of that."""
    widths: dict[str, list[int]] = {}
    for site in model.sites.values():
        widths.setdefault(site.source, []).append(bits.at(site).activation)
    kept = {index: [one for one in found if min(widths[one.activation.name]) < FLOAT_BITS] for index, found in mlps.items()}
    return {index: found for index, found in kept.items() if found}
