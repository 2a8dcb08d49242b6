"""Bias correction: of quantized weights (Banner et al. 2019) or of biases on calibration images (Nagel et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class BiascorrConfig:
    """Settings of ``biascorr``."""

    form: Annotated[
        Literal["banner", "banner_paper", "empirical"],
        Field(
            description="banner: rows of Wq get mean and deviation of W exactly (released code; off the integer grid); "
            "banner_paper: the formula as printed, the mean is not restored exactly; "
            "empirical: b <- b - E[(Wq - W) x] layer after layer (stays on the grid)"
        ),
    ] = "banner"
    batch: Annotated[int, Field(ge=1, description="empirical: calibration images per batch")] = 32


@register(
    "biascorr",
    role=Role.CORRECT,
    needs=("scheme", "scales"),
    version=2,
    paper="Banner et al., Post Training 4-bit Quantization of Convolutional Networks for Rapid-Deployment, NeurIPS 2019; "
    "empirical: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019",
)
class Biascorr(Method[BiascorrConfig]):
    """Undo the shift of means (and spread) that rounding weights causes."""

    Config = BiascorrConfig

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Mark weight quantizers for correction, or measure and subtract the output shift of each layer."""
        names = [name for name in model.weights if name in model.quantizers]
        if self.config.form == "empirical":
            self._empirical(model, calibration, context)
            return
        form = "paper" if self.config.form == "banner_paper" else "centred"
        for name in names:
            model.quantizers[name] = replace(model.quantizers[name], correction=form)

    def _empirical(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Segment after segment: the inputs of a segment already contain the corrections of those before it."""
        with context.progress.task("empirical bias correction", len(model.segments)) as task:
            for visit in task.track(walk(model, calibration.images, context, batch=self.config.batch)):
                for operation in visit.operations:
                    model.shift_bias(operation.node, _mean_input_product(visit, operation))


@torch.no_grad()
def _mean_input_product(visit: Visit, operation: WeightedOperation) -> Tensor:
    """Minus the mean over images and positions of the operation's output error ``(Wq - W) x``, per output channel."""
    error = operation.quantized_weight() - operation.present_weight
    channel = 1 if operation.weight.ndim > 2 else -1
    total, count = torch.zeros(error.shape[0], dtype=torch.float64, device=error.device), 0
    for x in visit.reads(operation, quantize=True):  # after the operand's quantizer: what the weight is multiplied with
        rows = operation.function(x, error, None).movedim(channel, 0).reshape(error.shape[0], -1)
        total += rows.double().sum(dim=1)
        count += rows.shape[1]
    return -(total / count).to(error.dtype)
