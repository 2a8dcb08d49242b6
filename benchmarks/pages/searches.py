"""What the pages say of searches on held-out training images."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[2]
SEARCHES = ROOT / "benchmarks" / "searches.csv"  # written by choose_settings.py --csv
WIDTHS = ("w8a8", "w4a8", "w3a8")


def searches(path: Path = SEARCHES) -> str:
    """What searches add to the stacks before them on held-out training images: mean gain in dB over seeds."""
    rows = pd.read_csv(path)
    start = ["network", "calib", "seed", "stack", "bits"]
    alone = rows[rows["candidate"] == "-"].set_index(start)["sqnr_db"]
    tried = rows[rows["candidate"] != "-"].copy()
    tried["gain"] = tried["sqnr_db"] - alone.loc[list(tried[start].itertuples(index=False, name=None))].to_numpy()
    lines = []
    for (network, stack, calib, candidate), group in tried.groupby(["network", "stack", "calib", "candidate"], sort=False):
        cells = [_gain(group.loc[group["bits"] == bits, "gain"]) for bits in WIDTHS]
        lines.append([f"`{str(network).partition('_patch')[0]}`", calib, f"`{stack}`", f"`{candidate}`", *cells])
    return tabulate(lines, ["network", "images", "after", "search", *WIDTHS], tablefmt="pipe", disable_numparse=True)


def _gain(gains: pd.Series) -> str:
    """Mean, deviation and number of seeds; a dash where nothing was measured."""
    if gains.empty:
        return "-"
    deviation = f" ± {gains.std():.2f}" if len(gains) > 1 else ""
    return f"{gains.mean():+.2f}{deviation} ({len(gains)})"
