"""GPTQ: round weights column by column and let the columns to come make up for the error (Frantar et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.column_rounding import gram, output_error, round_columns
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.base import required
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class GptqConfig:
    """Settings of ``gptq``."""

    images: Annotated[int, Field(ge=1, description="calibration images used")] = 128
    damping: Annotated[float, Field(gt=0, description="share of the mean diagonal that is added to the Hessian")] = 0.01
    order: Annotated[bool, Field(description="columns with the largest Hessian diagonal first (activation order)")] = True
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "gptq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=1,
    paper="Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023",
)
class Gptq(Method[GptqConfig]):
    """Round the weights of linear operations one input column after the other, with second-order compensation."""

    Config = GptqConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Segment after segment on quantized inputs; scales and zero points stay, convolutions too unless pointwise."""
        images = calibration.images[: self.config.images]
        context.notes["images_used"] = len(images)
        errors: dict[str, list[float]] = {}
        with context.progress.task("gptq", len(model.segments)) as task:
            for visit in task.track(walk(model, images, context, batch=self.config.batch)):
                for operation in visit.operations:
                    if operation.weight.ndim == 2:
                        hessian = 2 * gram(operation.weight.shape[1], visit.reads(operation, quantize=True))
                        errors[operation.site.name] = self._round(model, operation.site.name, hessian)
        context.notes["output_error_nearest_and_gptq"] = errors

    def _round(self, model: QuantizedModel, name: str, hessian: Tensor) -> list[float]:
        """Install the rounded weight unless rounding to nearest is better; returns both output errors."""
        weight, quantizer = model.weights[name].present_weight, required(Affine, model.quantizers[name], name, "gptq")
        rounded = round_columns(weight, quantizer, hessian, damping=self.config.damping, order=self.config.order)
        nearest = quantizer.quantize(weight)
        errors = [output_error(weight, one, hessian) for one in (nearest, rounded)]
        model.rounded_weights[name] = rounded if errors[1] <= errors[0] else nearest
        return [errors[0], min(errors)]
