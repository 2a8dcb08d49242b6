"""``harness report``: leaderboards of all records."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness report                                     tables on a terminal, Markdown in a pipe
  harness report --format md                         Markdown
  harness report --out leaderboard/results            tables, LaTeX, CSV, Parquet, pictures (SVG, PDF), the page
  harness report --out board --format html            the interactive page only
  harness report --records results/records.parquet    from a full export instead of a store
  harness report --machine H200 --cost latency,disk_bytes   latencies of one machine, as columns and axes
  harness report --format md --metrics nll,ece,classes   what quantization did beyond top-1
  harness report --cite                              BibTeX of what the records rest on
  harness report --against old/records.parquet        what moved since, beyond what interval, and why
"""
DEFAULT = ("md", "csv", "parquet", "latex", "svg", "pdf", "html")
FORMATS = (*DEFAULT[:-1], "png", "html")
METRICS = ("nll", "ece", "classes", "corruptions")
COSTS = ("seconds", "size_bytes", "bit_operations", "latency", "disk_bytes")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--out", type=Path, metavar="<dir>", help="write files there instead of printing")
    parser.add_argument("--overwrite", action="store_true", help="write into --out although other files are there")
    about = f"any of {','.join(FORMATS)} (with --out: all but png); without --out only md: Markdown, also on a terminal"
    parser.add_argument("--format", metavar="<list>", help=about)
    parser.add_argument("--cost", default="seconds", metavar="<list>", help=f"axes of the pictures: {','.join(COSTS)}")
    about = f"tables of more than top-1: {','.join(METRICS)}; classes with --out also writes classes.csv"
    parser.add_argument("--metrics", metavar="<list>", help=about)
    parser.add_argument(
        "--machine",
        metavar="<text>",
        help="latencies of the machine with this in its name (default: the most measured)",
    )
    parser.add_argument("--records", type=Path, metavar="<file>", help="a full export (harness store export --full)")
    parser.add_argument(
        "--submissions", type=Path, metavar="<dir>", help="add the files of harness submit in a folder, with their origin"
    )
    parser.add_argument("--cite", action="store_true", help="print BibTeX for the board, its methods, networks and images")
    parser.add_argument("--against", type=Path, metavar="<file>", help="say what moved since an older full export or store")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
