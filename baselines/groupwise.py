"""Group-wise activation scales: channels with similar ranges share one (after Quantformer, Wang et al., TPAMI 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.calibrate.placement import keeps_deployed
from harness.quant.calibrate.statistics import channel_ranges
from harness.quant.format.uniform import Uniform
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class GroupwiseConfig:
    """Settings of ``groupwise``."""

    groups: Annotated[int, Field(ge=1, description="scales per tensor; Quantformer uses 8")] = 8
    batch: Annotated[int, Field(ge=1, description="calibration images per batch")] = 32


@register(
    "groupwise",
    role=Role.RANGE,
    needs=("scheme", "scales"),
    provides=("scales",),
    version=1,
    paper="Wang et al., Quantformer, TPAMI 2022 (there groups are learned, here channels are grouped by their range)",
)
class Groupwise(Method[GroupwiseConfig]):
    """Give the LayerNorm, linear and activation outputs one min-max scale per group of channels instead of one."""

    Config = GroupwiseConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """One pass for the channels' ranges; channels are sorted by their range and cut into equal groups."""
        keeps_deployed(
            model, "groupwise gives what linear operations read a scale for each group of channels", "smoothquant"
        )
        found = {
            name: quantizer
            for name, quantizer in model.quantizers.items()
            if isinstance(quantizer, Uniform) and quantizer.axis is None and _takes_groups(model.sites[name])
        }
        for name, (low, high) in channel_ranges(model, found, calibration.batches(self.config.batch)).items():
            ends = group_ranges(low, high, self.config.groups)
            model.quantizers[name] = replace(found[name], axis=model.sites[name].axis, fractional=False).with_range(*ends)
        context.notes["groupwise_sites"] = len(found)


def group_ranges(low: Tensor, high: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Per channel the range of its group.

    Args:
        low: Minimum per channel.
        high: Maximum per channel.
        groups: Number of groups; channels are sorted by ``high - low``.
    """
    order = (high - low).argsort()
    grouped_low, grouped_high = torch.empty_like(low), torch.empty_like(high)
    for members in order.tensor_split(min(groups, len(low))):
        grouped_low[members] = low[members].min()
        grouped_high[members] = high[members].max()
    return grouped_low, grouped_high


def _takes_groups(site: Site) -> bool:
    """Tensors whose last axis is channels; scores and probabilities have none."""
    kinds = (Kind.LAYER_NORM, Kind.LINEAR, Kind.ACTIVATION)
    product = site.place is Place.OPERAND and Kind.MATMUL in site.feeds
    channels_last = site.axis != 1  # convolutions' channels are second
    return site.place in (Place.VALUE, Place.OPERAND) and site.kind in kinds and not product and channels_last
