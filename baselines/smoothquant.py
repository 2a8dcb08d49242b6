"""SmoothQuant: move the spread of LayerNorm channels into the weights that read them (Xiao et al., ICML 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import unrounded
from harness.quant.calibrate.statistics import channel_ranges
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import required
from harness.quant.format.uniform import Uniform
from harness.quant.network.operands import inner_norms
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class SmoothquantConfig:
    """Settings of ``smoothquant``."""

    alpha: Annotated[float, Field(ge=0, le=1, description="how much of the activations' spread moves into weights")] = 0.5
    batch: Annotated[int, Field(ge=1, description="calibration images per batch")] = 32


@register(
    "smoothquant",
    role=Role.TRANSFORM,
    needs=("scheme", "scales"),
    provides=("scales",),
    version=1,
    paper="Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, ICML 2023",
)
class Smoothquant(Method[SmoothquantConfig]):
    """Divide LayerNorm outputs by a factor per channel, multiply the columns of the weights behind them."""

    Config = SmoothquantConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """One pass for the channels' ranges, then the transform; ranges of what changed are min-max again."""
        readers = inner_norms(model)
        read = (operation.site.name for operations in readers.values() for operation in operations)
        unrounded(model, read, "smoothquant")
        ranges = _ranges(model, readers, calibration, self.config.batch)
        smoothed = 0
        for norm, operations in readers.items():
            if not any(operation.site.name in model.quantizers for operation in operations):
                continue
            low, high = ranges[norm]
            strongest = torch.stack([operation.present_weight.abs().amax(0) for operation in operations]).amax(0)
            spread = torch.maximum(-low, high).clamp_min(EPSILON)
            factor = spread**self.config.alpha / strongest.clamp_min(EPSILON) ** (1 - self.config.alpha)
            self._move(model, norm, operations, factor, (low / factor, high / factor))
            smoothed += 1
        context.notes["smoothed_norms"] = smoothed

    def _move(
        self,
        model: QuantizedModel,
        norm: str,
        operations: list[WeightedOperation],
        factor: Tensor,
        ends: tuple[Tensor, Tensor],
    ) -> None:
        gain, offset = model.norm_parameters(norm)
        model.replaced_norms[norm] = gain / factor, offset / factor
        for operation in operations:
            weight = operation.present_weight * factor
            name = operation.site.name
            model.replaced_weights[name] = weight
            if name in model.quantizers:
                quantizer = required(Uniform, model.quantizers[name], name, "smoothquant")
                rows = weight.reshape(1, -1) if quantizer.axis is None else weight.flatten(1)
                model.quantizers[name] = quantizer.with_range(*rows.aminmax(dim=1))
        low, high = ends
        for site in (model.layer_norms[norm][1], *(operation.operand for operation in operations)):
            if site in model.quantizers:
                quantizer = required(Uniform, model.quantizers[site], site, "smoothquant")
                new = (low.min().reshape(1), high.max().reshape(1)) if quantizer.axis is None else (low, high)
                model.quantizers[site] = quantizer.with_range(*new)


def _ranges(
    model: QuantizedModel, norms: dict[str, list[WeightedOperation]], calibration: CalibrationSet, batch: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Per-channel minimum and maximum of the norms' outputs, behind transforms that were applied before."""
    sites = [operations[0].operand for operations in norms.values()]
    ranges = channel_ranges(model, sites, calibration.batches(batch))
    return dict(zip(norms, (ranges[site] for site in sites), strict=True))
