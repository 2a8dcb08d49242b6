"""Write the tables of README.md and docs that come from the committed records and measurements.

``python benchmarks/pages.py`` writes them between their ``<!-- name -->`` and ``<!-- end -->`` lines;
``--check`` only says whether they are what the records give (exit code 1 if not).
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from harness.leaderboard.board.boards import Board, Network, Recipe, boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.ladder import Gain, gains
from harness.leaderboard.render.tables import SIGNS
from harness.store.exchange import merge
from harness.store.store import Store
from harness.store.table import table

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "leaderboard" / "results" / "records.parquet"
PAGES = ("README.md", "docs/results.md", "docs/methods.md")
SEARCHES = ROOT / "benchmarks" / "searches.csv"  # written by choose_settings.py --csv
WIDTHS = ("w8a8", "w4a8", "w3a8")
SECTION = re.compile(r"(<!-- (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
VERDICTS = {"better": "helps", "worse": "hurts", "equal": "changes nothing"}


def accuracies(found: list[Board]) -> str:
    """Stacks by bit-widths, in the order in which the stacks build on each other."""
    (network,) = {network for board in found for network in board.networks}
    recipes = sorted({recipe for board in found for recipe in board.recipes}, key=_order)
    lines = [[f"`{recipe.label}`", *(_cell(board, recipe, network) for board in found)] for recipe in recipes]
    headers = ["stack", *(board.bits for board in found)]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True, colalign=("left", *["right"] * len(found)))


def _order(recipe: Recipe) -> tuple[int, int, str]:
    first = ("fp32", "minmax", "ema", "percentile")
    place = first.index(recipe.stack) if recipe.stack in first else len(first)
    return place, recipe.stack.count("+"), recipe.stack


def _cell(board: Board, recipe: Recipe, network: Network) -> str:
    cell = board.cells.get((recipe, network))
    if cell is None:
        return "-"
    value = f"{cell.mean:.2f}" + (f" ± {cell.deviation:.2f}" if cell.deviation is not None else "")
    return f"**{value}**" if cell.mark == "best" else value + SIGNS.get(cell.mark, "")


def steps(found: list[Board], evidence: Evidence) -> str:
    """What each step adds."""
    lines = [
        [board.bits, f"`{gain.step}`", f"`{gain.below.stack}`", f"{gain.mean:+.2f}", *_told(gain)]
        for board in found
        for gain in gains(board, evidence)
    ]
    headers = ["bits", "step", "on top of", "adds", "95 % interval", "verdict"]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


def _told(gain: Gain) -> tuple[str, str]:
    if gain.difference is None:
        return "-", "unknown"
    interval, verdict = gain.difference.interval, gain.difference.verdict
    return f"{interval.low:+.2f} to {interval.high:+.2f}", VERDICTS.get(verdict, verdict)


def sentence(found: list[Board], evidence: Evidence) -> str:
    """Which steps help or hurt, in words."""
    lines = list(_findings(found, evidence))
    return "\n".join(lines) if lines else "No step of a stack adds or takes anything beyond noise."


def _findings(found: list[Board], evidence: Evidence) -> Iterator[str]:
    for board in found:
        real = [gain for gain in gains(board, evidence) if _told(gain)[1] in ("helps", "hurts")]
        shown = [f"`{gain.step}` {gain.mean:+.2f} ({_told(gain)[0]})" for gain in real]
        yield f"- {board.bits}: {'; '.join(shown) or 'no step beyond noise'}."


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


def sections() -> dict[str, str]:
    """What stands between the lines, by name."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        merge(store, RECORDS, None)
        rows = table(store.records())
        evidence = Evidence(store, rows)
        found = boards(rows, evidence)
        return {
            "accuracies": accuracies(found),
            "steps": steps(found, evidence),
            "findings": sentence(found, evidence),
            "searches": searches(),
        }


def written(text: str, known: dict[str, str]) -> str:
    """A page with its sections as the records give them.

    Raises:
        KeyError: It has a section of a name that nobody knows.
    """
    return SECTION.sub(lambda match: f"{match[1]}{known[match['name']]}\n{match[3]}", text)


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a page is out of date")
    check = parser.parse_args().check
    known = sections()
    stale = []
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        now = written(text, known)
        if now != text:
            stale.append(name)
            if not check:
                (ROOT / name).write_text(now, encoding="utf-8")
    print("\n".join(f"{name} {'is out of date' if check else 'is written'}" for name in stale) or "all pages are up to date")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
