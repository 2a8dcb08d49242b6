"""GPTAQ: GPTQ against the outputs of the full-precision network's own inputs (Li et al., ICML 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from harness.baselines.engines.column_rounding import Asymmetry, cross_gram, output_error, round_columns
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.base import required
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class GptaqConfig:
    """Settings of ``gptaq``."""

    images: Annotated[int, Field(ge=1, description="calibration images used")] = 128
    damping: Annotated[float, Field(gt=0, description="share of the mean diagonal that is added to the Hessian")] = 0.1
    order: Annotated[bool, Field(description="columns with the largest Hessian diagonal first (activation order)")] = True
    strength: Annotated[
        float,
        Field(ge=0, le=1, description="share of the asymmetry that is corrected: 0.25 as released, 1 is the minimiser"),
    ] = 0.25
    block: Annotated[
        int,
        Field(
            ge=0,
            description="columns of one block, outside of which rounded values carry the correction, as released; 0: all",
        ),
    ] = 128
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "gptaq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=1,
    paper="Li et al., GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration, ICML 2025",
)
class Gptaq(Method[GptaqConfig]):
    """GPTQ that also corrects what earlier layers have changed in a layer's inputs (asymmetric calibration)."""

    Config = GptaqConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Segment after segment, inputs of both networks; scales and zero points stay, convolutions too unless pointwise."""
        images = calibration.images[: self.config.images]
        context.notes["images_used"] = len(images)
        errors: dict[str, list[float]] = {}
        with context.progress.task("gptaq", len(model.segments)) as task:
            for visit in task.track(walk(model, images, context, batch=self.config.batch, full=True)):
                for operation in visit.operations:
                    if operation.weight.ndim == 2:
                        errors[operation.site.name] = self._round(model, visit, operation)
        context.notes["output_error_nearest_and_gptaq"] = errors

    def _round(self, model: QuantizedModel, visit: Visit, operation: WeightedOperation) -> list[float]:
        """Install the rounded weight; returns both errors against the outputs of full-precision inputs."""
        name, config = operation.site.name, self.config
        weight, quantizer = operation.present_weight, required(Affine, model.quantizers[name], name, "gptaq")
        pairs = zip(visit.reads(operation, quantize=True), visit.reads(operation, quantize=False), strict=True)
        hessian, cross = (2 * total for total in cross_gram(weight.shape[1], pairs))
        asymmetry = Asymmetry(cross, config.strength, config.block)
        rounded = round_columns(weight, quantizer, hessian, damping=config.damping, order=config.order, asymmetry=asymmetry)
        model.rounded_weights[name] = rounded
        nearest = quantizer.quantize(weight)
        return [asymmetric_error(weight, one, hessian, cross) for one in (nearest, rounded)]


def asymmetric_error(weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor, cross: torch.Tensor) -> float:
    """Squared error against ``W X'``, times two, up to the same constant for all roundings.

    Args:
        weight: ``(outputs, inputs)``.
        rounded: Likewise.
        hessian: ``2 X X^T`` of the quantized inputs.
        cross: ``2 (X' - X) X^T``.
    """
    change = (rounded - weight).double()
    return output_error(weight, rounded, hessian) - 2 * float(((weight.double() @ cross) * change).sum())
