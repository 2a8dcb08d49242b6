"""Pictures of the loss landscape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from harness.analysis.directions import CHOSEN, RANDOM, SEARCHED
from harness.analysis.landscape import LOSSES, SIDES, Landscape
from harness.analysis.style import FONT, FULL, GREY, OTHER, QUANTIZED, WIDTH, panels, plain

COLOURS = {RANDOM: GREY, CHOSEN: QUANTIZED, SEARCHED: OTHER}
DASHES = {SIDES[0]: "-", SIDES[1]: (0, (3, 1.5))}
SHOWN = {"infonce": "infoNCE", "mse": "MSE", "kl": "KL", "cosine": "cosine"}
CUT = 3.0  # times the loss at the origin: what lies above would flatten everything else
LEVELS = 12
NORM = TwoSlopeNorm(vmin=0.0, vcenter=1.0, vmax=CUT)  # what is better than the origin is blue, what is worse red
MAP = "RdBu_r"


def lines_figure(found: Landscape, units: list[str], title: str) -> Figure:
    """One row per block and one column per loss: excess over the floor, as a multiple of that at the origin.

    Args:
        found: The landscape.
        units: Which blocks.
        title: Of the picture.
    """
    figure, axes = panels(len(units), len(LOSSES), (WIDTH, 1.1 + 1.5 * len(units)), title)
    for row, unit in zip(axes, units, strict=True):
        for panel, loss in zip(row, LOSSES, strict=True):
            part = found.lines[(found.lines["unit"] == unit) & (found.lines["loss"] == loss)]
            _lines(panel, part, found.began.get(unit))
            plain(panel, f"{unit}, {SHOWN[loss]}")
    for row in axes:
        row[0].set_ylabel("excess loss, x origin", fontsize=FONT)
    for panel in axes[-1]:
        panel.set_xlabel("distance, share of each scale", fontsize=FONT)
    _legend(
        figure,
        axes[0][0],
        {str(kind) for kind in found.lines["direction"].unique()},
        any(unit in found.began for unit in units),
    )
    return figure


def _lines(axes: Axes, part: pd.DataFrame, began: float | None) -> None:
    top = 1.0
    for (kind, _, side), line in part.groupby(["direction", "number", "side"], sort=False):
        line = line.sort_values("distance")
        origin = abs(float(line.loc[line["distance"] == 0.0, "value"].iloc[0])) or 1.0
        values = line["value"] / origin
        top = max(top, float(values.max()))
        style: dict[str, Any] = {"lw": 0.7, "alpha": 0.7} if kind == RANDOM else {"lw": 1.3, "alpha": 1.0}
        axes.plot(line["distance"], values, color=COLOURS[str(kind)], ls=DASHES[str(side)], **style)
    axes.axhline(1.0, color="black", lw=0.4, zorder=0)
    if began is not None:
        axes.axvline(began, color=OTHER, lw=0.8, ls=":")
    axes.set_ylim(axes.get_ylim()[0], min(top * 1.05, CUT))


def _legend(figure: Figure, axes: Axes, kinds: set[str], began: bool) -> None:
    names = {RANDOM: "random", CHOSEN: "best of 24 children", SEARCHED: "the trial's search"}
    handles = [axes.plot([], [], color=COLOURS[kind], lw=1.3, label=names[kind])[0] for kind in COLOURS if kind in kinds]
    handles += [axes.plot([], [], color="black", lw=1, ls=dash, label=side)[0] for side, dash in DASHES.items()]
    if began:
        handles.append(axes.plot([], [], color=OTHER, lw=0.8, ls=":", label="where the search began")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=FONT, frameon=False)


def plane_figure(found: Landscape, title: str) -> Figure:
    """One row per side and one column per loss, over two directions; a cross at the origin, a dot at the minimum."""
    unit, across, up = found.plane_of
    figure, axes = panels(len(SIDES), len(LOSSES), (WIDTH + 0.6, 4.9), f"{title}: {unit}")
    for row, side in zip(axes, SIDES, strict=True):
        for panel, loss in zip(row, LOSSES, strict=True):
            part = found.plane[(found.plane["side"] == side) & (found.plane["loss"] == loss)]
            _surface(panel, part.pivot_table(index="y", columns="x", values="value"))
            plain(panel, f"{SHOWN[loss]}, {side}")
    drawn = ScalarMappable(norm=NORM, cmap=MAP)
    bar = figure.colorbar(drawn, ax=[panel for row in axes for panel in row], aspect=40, pad=0.01, extend="max")
    bar.set_label("excess loss, x origin", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 1)
    for panel in axes[-1]:
        panel.set_xlabel(f"along: {across}", fontsize=FONT)
    for row in axes:
        row[0].set_ylabel(f"along: {up}", fontsize=FONT)
    return figure


def _surface(axes: Axes, table: pd.DataFrame) -> None:
    x, y, values = table.columns.to_numpy(float), table.index.to_numpy(float), table.to_numpy(float)
    origin = abs(values[np.abs(y).argmin(), np.abs(x).argmin()]) or 1.0
    share = values / origin
    axes.pcolormesh(x, y, share, cmap=MAP, norm=NORM, shading="nearest", rasterized=True)
    if float(share.max()) > float(share.min()):
        axes.contour(x, y, np.clip(share, 0, CUT), levels=LEVELS, colors="black", linewidths=0.3, alpha=0.6)
    low = np.unravel_index(values.argmin(), values.shape)
    axes.plot(0, 0, "+", color="black", ms=8)
    axes.plot(x[low[1]], y[low[0]], "o", color=FULL, mec="white", ms=5)
    plain(axes, x="", y="")
    axes.annotate(
        f"{100 * (1 - values[low] / origin):.1f} % below",
        (x[low[1]], y[low[0]]),
        xytext=(4, 4 if low[0] < len(y) * 0.8 else -9),
        textcoords="offset points",
        ha="left" if low[1] < len(x) * 0.5 else "right",
        fontsize=FONT - 1,
        color="black",
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )
