"""COMQ: codes one after the other, each at the minimum of the layer's output error (Zhang et al., IEEE Access 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.column_rounding import gram, output_error
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import walk
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.base import required
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class ComqConfig:
    """Settings of ``comq``."""

    images: Annotated[int, Field(ge=1, description="calibration images used")] = 1024
    rounds: Annotated[int, Field(ge=1, description="times that every code is visited")] = 1
    greedy: Annotated[
        bool, Field(description="codes with the largest |weight| times norm of input first, for each output; else in order")
    ] = True
    inputs: Annotated[
        Literal["full", "quantized"],
        Field(description="what the error is measured on: inputs of the full-precision network, as released, or quantized"),
    ] = "full"
    batch: Annotated[int, Field(ge=1, description="calibration images per pass")] = 32


@register(
    "comq",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=1,
    paper="Zhang et al., COMQ: A Backpropagation-Free Algorithm for Post-Training Quantization, IEEE Access 2025",
)
class Comq(Method[ComqConfig]):
    """Coordinate-wise minimisation of each linear operation's output error over its codes."""

    Config = ComqConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Segment after segment; scales and zero points stay, convolutions too unless pointwise."""
        config = self.config
        images = calibration.images[: config.images]
        context.notes["images_used"], context.notes["images_wanted"] = len(images), config.images
        quantize = config.inputs == "quantized"
        errors: dict[str, list[float]] = {}
        with context.progress.task("comq", len(model.segments)) as task:
            steps = walk(model, images, context, batch=config.batch, full=not quantize, quantized=quantize)
            for visit in task.track(steps):
                for operation in visit.operations:
                    if operation.weight.ndim == 2:
                        name, weight = operation.site.name, operation.present_weight
                        quantizer = required(Affine, model.quantizers[name], name, "comq")
                        moments = gram(weight.shape[1], visit.reads(operation, quantize=quantize))
                        rounded = minimise_codes(weight, quantizer, moments, rounds=config.rounds, greedy=config.greedy)
                        model.rounded_weights[name] = rounded
                        both = (quantizer.quantize(weight), rounded)
                        errors[name] = [output_error(weight, one, moments) for one in both]
        context.notes["output_error_nearest_and_comq"] = errors


def minimise_codes(weight: Tensor, quantizer: Affine, moments: Tensor, *, rounds: int, greedy: bool) -> Tensor:
    """Coordinate-wise minimisation of ``tr((W - Q) G (W - Q)^T)`` over ``Q`` on the quantizer's grid.

    Starts from the unrounded weight, so the first round decides on every code with the later ones still exact; each
    further round can only lower the error.

    Args:
        weight: ``(outputs, inputs)``.
        quantizer: Scale and zero point, per output channel or one.
        moments: ``G = X^T X`` of the inputs, float64.
        rounds: Visits of every code.
        greedy: Order of each output's codes by ``|w| sqrt(G_ii)``, largest first; otherwise as they stand.
    """
    w = weight.double()
    outputs, inputs = w.shape
    strength = moments.diagonal().sqrt() * w.abs()
    plain = torch.arange(inputs, device=w.device).expand(outputs, inputs)
    order = strength.argsort(dim=1, descending=True, stable=True) if greedy else plain
    rows = torch.arange(outputs, device=w.device)
    scale, zero_point = quantizer.scale.double(), quantizer.zero_point.double()
    diagonal = moments.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
    left = torch.zeros_like(w)  # W - Q
    pull = torch.zeros_like(w)  # (W - Q) G
    for _ in range(rounds):
        for at in order.T:
            own = left[rows, at]
            target = w[rows, at] + pull[rows, at] / diagonal[at] - own
            target = torch.where(moments.diagonal()[at] > 0, target, w[rows, at])  # an input that is always zero
            codes = torch.round(target / scale + zero_point).clamp(*quantizer.code_range)
            new = w[rows, at] - (codes - zero_point) * scale
            pull += (new - own)[:, None] * moments[at]
            left[rows, at] = new
    return (w - left).to(weight.dtype)
