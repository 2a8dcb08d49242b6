"""Pictures of values per channel, with the quantizer's grid drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.distributions import NORM, Distribution
from harness.analysis.style import FONT, FULL, GREY, QUANTIZED, WIDTH, panels, plain

BANDS = ((0, 6, 0.25), (1, 5, 0.45), (2, 4, 0.8))  # rows of the quantiles, and how dark
COLUMNS = 2
FEW = 32  # codes that are drawn as lines


def distributions_figure(found: Sequence[Distribution], title: str) -> Figure:
    """One panel per tensor: quantiles of every channel, the grid's ends, and how often each code is used.

    Args:
        found: Tensors of a block.
        title: Of the picture.
    """
    rows = -(-len(found) // COLUMNS)
    figure, axes = panels(rows, COLUMNS, (WIDTH, 0.8 + 2.1 * rows), title)
    flat = [panel for row in axes for panel in row]
    for panel, one in zip(flat, found, strict=False):
        _channels(panel, one)
    for panel in flat[len(found) :]:
        panel.set_axis_off()
    handles = [flat[0].fill_between([], [], [], color=FULL, alpha=shade) for *_, shade in BANDS]
    handles += flat[0].plot([], [], color=QUANTIZED, lw=1)  # type: ignore[arg-type]
    labels = ["all values", "1 to 99 %", "middle half", "ends of the grid; bars: use of each code, logarithmic"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=FONT, frameon=False)
    return figure


def _channels(axes: Axes, one: Distribution) -> None:
    channels = np.arange(one.shares.shape[1])
    for low, high, shade in BANDS:
        axes.fill_between(channels, one.shares[low], one.shares[high], step="mid", color=FULL, alpha=shade, lw=0)
    grid, about = one.grid, one.format
    if grid is not None:
        for end in (grid.low, grid.high):
            axes.step(channels, np.broadcast_to(end, len(channels)), where="mid", color=QUANTIZED, lw=0.9)
        if len(grid.codes) <= FEW and len(grid.step) == 1:
            for level in np.linspace(grid.low[0], grid.high[0], len(grid.codes)):
                axes.axhline(level, color=QUANTIZED, lw=0.25, zorder=0)
        _codes(axes, grid.codes)
        about += f", {grid.used} of {len(grid.codes)} codes used, {grid.most} hold 99 %"
    axes.set_xlim(-0.5, len(channels) - 0.5)
    name = f"before LayerNorm: {one.site}" if one.kind == NORM else one.site
    plain(axes, f"{name}\n{about}", x="channel")


def _codes(axes: Axes, counts: np.ndarray) -> None:
    """A strip at the right: the smallest code below, longer bars for codes that more values have."""
    strip = axes.inset_axes((1.01, 0.0, 0.13, 1.0))
    shown = np.log10(counts + 1.0)
    strip.fill_betweenx(np.arange(len(counts) + 1), np.append(shown, 0), step="post", color=GREY, lw=0)
    strip.set_ylim(0, len(counts))
    strip.set_xlim(0, max(float(shown.max()), 1.0))
    strip.set_axis_off()
