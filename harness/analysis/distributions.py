"""Values per channel of weights and of what LayerNorms read, with the grid of the quantizer that acts on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from harness.analysis.subject import Subject
from harness.quant.format.affine import Affine
from harness.quant.format.base import NumberFormat
from harness.quant.network.qmodel import QuantizedModel

SHARES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
NAMES = ("min", "p01", "p25", "median", "p75", "p99", "max")
WEIGHT, NORM = "weight", "before LayerNorm"


@dataclass(frozen=True)
class Grid:
    """What a quantizer can represent, by channel.

    Attributes:
        low: Smallest value of each channel.
        high: Largest value.
        step: Distance of neighbouring values.
        codes: How many values had each code, over all channels; the first is the smallest code.
        first: The smallest code.
    """

    low: np.ndarray
    high: np.ndarray
    step: np.ndarray
    codes: np.ndarray
    first: int

    @property
    def used(self) -> int:
        """Codes that some value had."""
        return int((self.codes > 0).sum())

    @property
    def most(self) -> int:
        """Codes that together hold 99 % of the values, the most frequent first."""
        share = np.cumsum(np.sort(self.codes)[::-1]) / self.codes.sum()
        return int(np.searchsorted(share, 0.99) + 1)


@dataclass(frozen=True)
class Distribution:
    """One tensor.

    Attributes:
        site: Its name.
        block: Path of the block it is in; empty outside blocks.
        kind: ``weight`` or ``before LayerNorm``.
        shares: Quantiles ``(len(SHARES), channels)``.
        format: Of its quantizer, with bits and granularity; says so where there is none.
        grid: None where there is no quantizer, or one whose codes are not equally far apart.
    """

    site: str
    block: str
    kind: str
    shares: np.ndarray
    format: str
    grid: Grid | None

    def rows(self) -> pd.DataFrame:
        """One row per channel, for CSV."""
        channels = self.shares.shape[1]
        table = pd.DataFrame({"site": self.site, "kind": self.kind, "channel": range(channels)})
        table[list(NAMES)] = self.shares.T
        table["format"] = self.format
        if self.grid is not None:
            for name in ("low", "high", "step"):
                table[f"grid_{name}"] = np.broadcast_to(getattr(self.grid, name), channels)
            table["codes_used"], table["codes"] = self.grid.used, len(self.grid.codes)
        return table


def distributions(subject: Subject) -> list[Distribution]:
    """All weights and all values before LayerNorms, in execution order."""
    model = subject.model
    found = [
        _of(model, name, WEIGHT, operation.present_weight, operation.site.axis, operation.rounded_weight)
        for name, operation in model.weights.items()
        if operation.present_weight.ndim > 1
    ]
    values = _before_norms(model, subject.held_out)
    found += [_of(model, name, NORM, value, model.sites[name].axis) for name, value in values.items()]
    order = {name: place for place, name in enumerate(model.sites)}
    return sorted(found, key=lambda one: order[one.site])


def _before_norms(model: QuantizedModel, images: Tensor) -> dict[str, Tensor]:
    """What LayerNorms read, in full precision, by site."""
    wanted = {source for source, _ in model.layer_norms.values() if source in model.sites}
    found: dict[str, Tensor] = {}

    def watch(name: str, x: Tensor) -> None:
        if name in wanted:
            found[name] = x.detach().cpu()

    model.observe(images, watch)
    return found


def _of(
    model: QuantizedModel, site: str, kind: str, values: Tensor, axis: int, rounded: Tensor | None = None
) -> Distribution:
    segment = model.segments[model.segment_of(site)]
    quantizer = model.quantizers.get(site)
    channels = values.detach().cpu().movedim(axis, 0).flatten(1)
    shares = torch.quantile(_thinned(channels), torch.tensor(SHARES), dim=1).numpy()
    return Distribution(
        site,
        segment.name if segment.is_block else "",
        kind,
        shares,
        "no quantizer here" if quantizer is None else f"{quantizer.bits} bits, {quantizer.granularity}",
        _grid(quantizer, values if rounded is None else rounded, channels.shape[0]),
    )


def _thinned(channels: Tensor, most: int = 2**23) -> Tensor:
    """Evenly spaced values of each channel, with its extremes: torch's quantile takes 2^24 elements at most."""
    step = -(-channels.numel() // most)
    if step == 1:
        return channels
    return torch.cat([channels[:, ::step], channels.amin(1, keepdim=True), channels.amax(1, keepdim=True)], 1)


def _grid(quantizer: NumberFormat | None, values: Tensor, channels: int) -> Grid | None:
    if not isinstance(quantizer, Affine):
        return None
    first, last = quantizer.code_range
    scale, zero = (one.detach().cpu().flatten().numpy() for one in (quantizer.scale, quantizer.zero_point))
    if len(scale) not in (1, channels) or len(zero) not in (1, channels):
        return None  # by group or head: channels have several grids
    codes = quantizer.codes(values.detach()).flatten().cpu().numpy() - first
    counts = np.bincount(codes, minlength=last - first + 1)
    return Grid((first - zero) * scale, (last - zero) * scale, scale, counts, first)
