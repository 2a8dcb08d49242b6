"""Why a quantizer costs what it costs: what its codes are spent on, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engines.held_out import sqnr_db
from harness.graph.sites import Place, Site
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.base import NumberFormat

MOST = 0.9  # of the energy
ONE_HOLDS = 0.5  # of the energy: worth a sentence
FEW_CHANNELS = 0.1
FEW_VALUES = 0.001  # in the outer half of the range
FEW_CODES = 1 / 8  # of all that there could be in a token
UNUSED = 0.25
COARSE = 0.5  # step over standard deviation


@dataclass(frozen=True)
class SiteFacts:
    """What the values of a site look like to its quantizer.

    Attributes:
        sqnr_db: Ratio of signal to error of the values themselves.
        channels: Number of channels.
        top_channel: Share of the energy in the strongest channel.
        energy_channels: Fewest channels that hold 90 % of the energy.
        values: Number of values.
        outer_values: Those further from zero than half of the furthest: codes of the outer half serve nothing else.
        levels: Codes there are.
        unused: Codes that no value has (with scales per channel: the mean over channels).
        token_codes: Median over tokens of the number of different codes in one; None where there are no tokens.
        equal_tokens: Share of the tokens of which all codes are equal; None likewise.
        coarseness: Step over the standard deviation of a channel's values, median over channels; None for formats without
            equal steps.
    """

    sqnr_db: float
    channels: int
    top_channel: float
    energy_channels: int
    values: int
    outer_values: int
    levels: int
    unused: int
    token_codes: float | None
    equal_tokens: float | None
    coarseness: float | None

    @property
    def words(self) -> list[str]:
        """What stands out, one statement each; empty when nothing does."""
        return [text for text in (self._energy(), self._range(), self._codes(), self._tokens(), self._step()) if text]

    def _energy(self) -> str:
        if self.top_channel >= ONE_HOLDS:
            return f"one of {self.channels} channels holds {100 * self.top_channel:.0f} % of the energy"
        if self.energy_channels <= FEW_CHANNELS * self.channels:
            return f"{self.energy_channels} of {self.channels} channels hold {100 * MOST:.0f} % of the energy"
        return ""

    def _range(self) -> str:
        if self.outer_values > FEW_VALUES * self.values:
            return ""
        return f"the outer half of the range is there for {self.outer_values:,} of {self.values:,} values"

    def _codes(self) -> str:
        return f"{self.unused} of {self.levels} codes unused" if self.unused >= UNUSED * self.levels else ""

    def _tokens(self) -> str:
        if self.equal_tokens:
            return f"{100 * self.equal_tokens:.1f} % of the tokens have equal codes"
        if self.token_codes is not None and self.token_codes <= FEW_CODES * min(self.levels, self.channels):
            return f"half of the tokens have at most {self.token_codes:.0f} different codes"
        return ""

    def _step(self) -> str:
        if self.coarseness is None or self.coarseness < COARSE:
            return ""
        return f"the step is {self.coarseness:.1f} times the standard deviation of a median channel"


@torch.no_grad()
def facts_of(site: Site, quantizer: NumberFormat, x: Tensor, rounded: Tensor | None = None) -> SiteFacts:
    """Look at the values of a site as its quantizer sees them.

    Args:
        site: The site.
        quantizer: Its quantizer.
        x: All its values, in full precision.
        rounded: Of a weight, what its quantizer gets: a method may have rounded it already. None for an activation.
    """
    rows = channel_rows(x, site.axis)
    energy = rows.double().square().sum(dim=1)
    ordered = energy.sort(descending=True).values / energy.sum().clamp_min(1e-300)
    codes = quantizer.codes(x if rounded is None else rounded)
    used = quantizer(x) if rounded is None else quantizer.weight(rounded, x)
    tokens = codes.ndim == 3 and site.place is not Place.PARAMETER
    counts = _different(codes.flatten(0, 1)) if tokens else None
    return SiteFacts(
        sqnr_db=sqnr_db([used], [x]),
        channels=len(rows),
        top_channel=float(ordered[0]),
        energy_channels=int((ordered.cumsum(0) < MOST).sum()) + 1,
        values=x.numel(),
        outer_values=_outer(quantizer, x),
        levels=quantizer.levels,
        unused=_unused(quantizer, codes),
        token_codes=None if counts is None else float(counts.double().median()),
        equal_tokens=None if counts is None else float((counts == 1).double().mean()),
        coarseness=_coarseness(quantizer, rows, site.axis, x.ndim),
    )


def _different(rows: Tensor) -> Tensor:
    """Number of different codes in each row."""
    ordered = rows.sort(dim=1).values
    return (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1) + 1


def _unused(quantizer: NumberFormat, codes: Tensor) -> int:
    if quantizer.axis is None:
        return quantizer.levels - len(codes.unique())
    rows = channel_rows(codes, quantizer.axis)
    return quantizer.levels - round(float(_different(rows).double().mean()))


def _outer(quantizer: NumberFormat, x: Tensor) -> int:
    """Values further from zero than half of the furthest, in steps of their own channel."""
    axis = quantizer.axis
    per_channel = axis is not None and quantizer.scale.numel() == x.shape[axis]
    rows = channel_rows(x, axis) / quantizer.scale.reshape(-1, 1) if axis is not None and per_channel else x.reshape(1, -1)
    sizes = rows.abs()
    return int((sizes > sizes.max() / 2).sum())


def _coarseness(quantizer: NumberFormat, rows: Tensor, axis: int, rank: int) -> float | None:
    if not isinstance(quantizer, Affine):
        return None
    if quantizer.axis is not None and (quantizer.axis % rank != axis % rank or quantizer.scale.numel() != len(rows)):
        return None
    spread = rows.double().std(dim=1).clamp_min(1e-12)
    return float((quantizer.scale.double().reshape(-1) / spread).median())
