"""GPTQ: round weights column by column and let the columns to come make up for the error (Frantar et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines.layerwise import walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import required
from harness.quant.network.operators import WeightedOperation
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
                        hessian = _hessian(operation, visit.reads(operation, quantize=True))
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


def output_error(weight: Tensor, rounded: Tensor, hessian: Tensor) -> float:
    """``tr(dW H dW^T)``: squared error of the outputs over all calibration tokens, times two."""
    change = (weight - rounded).double()
    return float(((change @ hessian) * change).sum())


def round_columns(weight: Tensor, quantizer: Affine, hessian: Tensor, *, damping: float, order: bool) -> Tensor:
    """GPTQ's rounding of a weight ``(outputs, inputs)`` on the grid of its quantizer.

    Args:
        weight: Full-precision weight.
        quantizer: Scale and zero point, per output channel or one.
        hessian: ``2 X^T X`` of the inputs, ``(inputs, inputs)``, float64.
        damping: Share of the mean diagonal added to the diagonal.
        order: Columns with the largest diagonal first.

    Returns:
        The weight with every entry on its quantizer's grid (paper, Alg. 1, without blocks: they only save memory traffic).
    """
    columns = hessian.diagonal().argsort(descending=True) if order else torch.arange(len(hessian), device=weight.device)
    damped = hessian[columns][:, columns].clone()
    dead = damped.diagonal() == 0  # inputs that are always zero
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(damping * damped.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    remaining = weight[:, columns].double()
    scale, zero_point = quantizer.scale.double(), quantizer.zero_point.double()
    result = torch.empty_like(remaining)
    for column in range(len(columns)):
        values = remaining[:, column]
        codes = torch.round(values / scale + zero_point).clamp(*quantizer.code_range)
        result[:, column] = (codes - zero_point) * scale
        error = (values - result[:, column]) / inverse[column, column]
        remaining[:, column + 1 :] -= error[:, None] * inverse[column, column + 1 :]
    restored = torch.empty_like(result)
    restored[:, columns] = result
    return restored.to(weight.dtype)


def _hessian(operation: WeightedOperation, inputs: Iterable[Tensor]) -> Tensor:
    """``2 X^T X`` over all tokens of what the operation reads after its quantizer, float64; one batch in memory."""
    size = operation.weight.shape[1]
    total = torch.zeros(size, size, dtype=torch.float64, device=operation.weight.device)
    for x in inputs:
        rows = channel_rows(x, x.ndim - 1).double()
        total.add_(rows @ rows.T)
    return 2 * total
