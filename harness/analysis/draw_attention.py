"""Pictures of attention in both precisions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.attention import Attention
from harness.analysis.style import FONT, FULL, GREY, QUANTIZED, WIDTH, empty, panels, plain

CHANCE = 1 / 3  # mean absolute rank difference of two random orders, as a share of the keys


def maps_figure(found: Attention, sites: Sequence[str], pictures: np.ndarray, title: str) -> Figure:
    """One row per image: the image, and for each site attention in full precision, quantized, and what changed.

    Args:
        found: The maps.
        sites: Attentions to show.
        pictures: The images ``(n, h, w, c)``, values in [0, 1].
        title: Of the picture.
    """
    figure, axes = panels(len(pictures), 1 + 3 * len(sites), (WIDTH, 0.7 + 0.95 * len(pictures)), title)
    for number, row in enumerate(axes):
        row[0].imshow(pictures[number].squeeze(), cmap="gray", vmin=0, vmax=1)
        for place, site in enumerate(sites):
            _three(row[1 + 3 * place : 4 + 3 * place], found, site, number)
        for panel in row:
            panel.set_axis_off()
    for place, site in enumerate(sites):
        for offset, word in enumerate(("full", "quantized", "change")):
            heading = f"{site.rpartition(':')[0]}\n{word}" if not offset else f"\n{word}"
            axes[0][1 + 3 * place + offset].set_title(heading, fontsize=FONT - 1, loc="left", parse_math=False)
    return figure


def _three(panels_of: Sequence[Axes], found: Attention, site: str, number: int) -> None:
    full, quantized = (picture_of(maps[site][number]) for maps in (found.full, found.quantized))
    top, change = max(float(full.max()), 1e-9), quantized - full
    side = max(float(np.abs(change).max()), 1e-9)
    panels_of[0].imshow(full, cmap="magma", vmin=0, vmax=top)
    panels_of[1].imshow(quantized, cmap="magma", vmin=0, vmax=top)
    panels_of[2].imshow(change, cmap="RdBu_r", vmin=-side, vmax=side)


def picture_of(heads: np.ndarray) -> np.ndarray:
    """Attention ``(heads, queries, keys)`` as a picture, mean over heads.

    With one token more than a square of patches: what the class token looks at. With a square of patches: how much each is
    looked at. Otherwise the whole map.
    """
    mean: np.ndarray = heads.mean(0)
    queries, keys = mean.shape
    side = math.isqrt(keys - 1)
    if side * side == keys - 1 and side > 1:
        mean = mean[0, 1:].reshape(side, side)
    elif (side := math.isqrt(keys)) ** 2 == keys == queries:
        mean = mean.mean(0).reshape(side, side)
    return mean


def ranks_figure(found: Attention, title: str) -> Figure:
    """Rank difference, share of queries with another first key, and entropy, by block; dots are heads."""
    figure, (row,) = panels(1, 3, (WIDTH, 2.7), title)
    if found.ranks.empty:
        for axes in row:
            empty(axes, "no attention with heads, queries and keys")
        return figure
    sites = list(dict.fromkeys(found.ranks["site"]))
    places = found.ranks["site"].map({site: place for place, site in enumerate(sites)})
    for axes, name, label in zip(
        row,
        ("rank_difference", "other_first"),
        ("rank difference, % of keys", "other first key, % of queries"),
        strict=False,
    ):
        axes.plot(places, 100 * found.ranks[name], "o", ms=2.5, color=GREY, alpha=0.7)
        axes.plot(range(len(sites)), 100 * found.ranks.groupby("site", sort=False)[name].mean(), color=QUANTIZED, lw=1.3)
        axes.set_ylim(0, None)
        plain(axes, x="block", y=label)
    row[0].set_title(f"two random orders: {100 * CHANCE:.0f} %", fontsize=FONT - 1, color=GREY, loc="right")
    for name, colour, label in (("entropy_fp32", FULL, "full precision"), ("entropy", QUANTIZED, "quantized")):
        row[2].plot(range(len(sites)), found.ranks.groupby("site", sort=False)[name].mean(), color=colour, label=label)
    row[2].legend(fontsize=FONT - 1, frameon=False)
    plain(row[2], x="block", y="entropy of attention, nats")
    return figure
