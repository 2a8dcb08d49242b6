"""OCS: split the input channels with the largest weights, so that ranges shrink (Zhao et al., ICML 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.graph.operations import Kind
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import unrounded
from harness.quant.format.arithmetic import along
from harness.quant.format.base import required
from harness.quant.format.split import Split
from harness.quant.format.uniform import Uniform
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

QUARTER = 0.25  # of a step: both halves of a split then round to what the whole rounds to


@dataclass(frozen=True)
class OcsConfig:
    """Settings of ``ocs``."""

    ratio: Annotated[
        float, Field(gt=0, le=1, description="columns that are added, as a share of a layer's input channels")
    ] = 0.02


@register(
    "ocs",
    role=Role.RANGE,
    needs=("scheme", "scales"),
    provides=("scales",),
    version=2,
    paper="Zhao et al., Improving Neural Network Quantization without Retraining using Outlier Channel Splitting, ICML 2019",
)
class Ocs(Method[OcsConfig]):
    """Split the input channels of weights that hold the largest values; the range is that of what is left."""

    Config = OcsConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Needs no images. The operation that reads the image stays, and so do convolutions of several groups."""
        taken = {name: one for name, one in model.weights.items() if name in model.quantizers and _splits(model, one)}
        unrounded(model, taken, "ocs")
        grown = 0
        for name, operation in taken.items():
            quantizer = required(Uniform, model.quantizers[name], name, "ocs")
            model.quantizers[name] = split = split_format(operation.present_weight, quantizer, self.config.ratio)
            grown += split.grown
        context.notes["grown_codes"] = grown


def split_format(weight: Tensor, quantizer: Uniform, ratio: float) -> Split:
    """The format of a weight after splits, with the codes and the granularity that its quantizer has.

    Args:
        weight: ``(outputs, inputs, ...)``.
        quantizer: Per output channel or per tensor.
        ratio: Columns to add, as a share of the input channels, rounded up.
    """
    count = math.ceil(ratio * weight.shape[1])
    halved = Parts.of(weight).after(count, None)
    rows = (
        halved.values(None)
        .flatten(0 if quantizer.axis is None else 1)
        .reshape(1 if quantizer.axis is None else len(weight), -1)
    )
    found = quantizer.with_range(*rows.aminmax(dim=1))
    parts = Parts.of(weight).after(count, found.scale)
    low, high = found.code_range
    return Split(
        bits=found.bits,
        scale=found.scale,
        axis=found.axis,
        zero_point=found.zero_point,
        minimum=found.minimum,
        maximum=found.maximum,
        columns=parts.columns,
        shares=parts.shares,
        offsets=parts.offsets,
        low=low,
        high=high,
        grown=count * weight[:, 0].numel(),
        correction=quantizer.correction,
    )


@dataclass(frozen=True)
class Parts:
    """Columns of a weight, some of them split.

    Attributes:
        weight: The weight.
        columns: Input channel of each column.
        shares: Part of its weights that the column holds.
        offsets: What is added, in steps.
    """

    weight: Tensor
    columns: Tensor
    shares: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Parts:
        """Without splits."""
        inputs = weight.shape[1]
        return cls(weight, torch.arange(inputs, device=weight.device), weight.new_ones(inputs), weight.new_zeros(inputs))

    def values(self, scale: Tensor | None) -> Tensor:
        """What the columns hold; without their offsets where there is no scale yet."""
        held = self.weight.index_select(1, self.columns) * along(self.shares, self.weight.ndim, 1)
        if scale is None:
            return held
        return held + along(self.offsets, held.ndim, 1) * along(scale, held.ndim, 0)

    def after(self, count: int, scale: Tensor | None) -> Parts:
        """After a number of splits in halves, each of the column with the largest absolute value.

        Args:
            count: How many.
            scale: Steps, for halves that are a half of a step apart; None for equal halves.
        """
        parts = self
        for _ in range(count):
            values = parts.values(scale).abs().transpose(0, 1).flatten(1)
            at = int(values.amax(1).argmax())
            shares, offsets = parts.shares.clone(), parts.offsets.clone()
            apart = 0.0 if scale is None else QUARTER
            shares[at], offsets[at] = shares[at] / 2, offsets[at] / 2 - apart
            parts = Parts(
                parts.weight,
                torch.cat([parts.columns, parts.columns[at : at + 1]]),
                torch.cat([shares, shares[at : at + 1]]),
                torch.cat([offsets, offsets[at : at + 1] + 2 * apart]),
            )
        return parts


def _splits(model: QuantizedModel, operation: WeightedOperation) -> bool:
    """Whether an operation reads several channels that something has computed, all of them for each output."""
    groups = 1 if operation.convolution is None else operation.convolution.groups
    return groups == 1 and operation.weight.shape[1] > 1 and model.sites[operation.operand].kind is not Kind.INPUT
