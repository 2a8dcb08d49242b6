"""The sections of README.md and docs that come from committed records and measurements, by name."""

from __future__ import annotations

import re

from benchmarks.pages import embedded, photographs
from benchmarks.pages.allocated import mixed, widened
from benchmarks.pages.arithmetic import arithmetic
from benchmarks.pages.class_token import class_token
from benchmarks.pages.deployed import deployed
from benchmarks.pages.peers import learned, peers, turned, turned_values
from benchmarks.pages.recommended import recommended
from benchmarks.pages.searches import ROOT, searches
from harness.leaderboard.board.from_file import boards_of

RECORDS = ROOT / "leaderboard" / "results" / "records.parquet"
PHOTOGRAPHS = ROOT / "leaderboard" / "results" / "photographs" / "records.parquet"
PEERS = ROOT / "leaderboard" / "results" / "peers" / "records.parquet"
WIDTHS = ("w8a8", "w4a8", "w4a4", "w3a8")  # of the experiment photographs
NARROW = ("w4a4", "w3a3")  # of the experiments rotated and reconstructions
PAGES = (
    "README.md",
    "docs/peers.md",
    "docs/results.md",
    "docs/methods.md",
    "docs/deploy.md",
    "docs/recommend.md",
    "docs/speed.md",
    "docs/diagnose.md",
)
SECTION = re.compile(r"(<!-- (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def sections() -> dict[str, str]:
    """What stands between the lines, by name."""
    return {
        **_embedded(),
        **_photographs(),
        **_peers(),
        "searches": searches(),
        "deployed": deployed(),
        "recommended": recommended(),
        "arithmetic": arithmetic(),
        "widened": widened(),
        "mixed": mixed(),
        "class-token": class_token(),
    }


def _embedded() -> dict[str, str]:
    with boards_of(RECORDS) as (found, evidence):
        return {
            "accuracies": embedded.accuracies(found),
            "steps": embedded.steps(found, evidence),
            "findings": embedded.sentence(found, evidence),
        }


def _photographs() -> dict[str, str]:
    with boards_of(PHOTOGRAPHS) as (found, evidence):
        return {
            "photographs": photographs.accuracies(found, WIDTHS),
            "narrow": photographs.accuracies(found, NARROW),
            "photographs-full-precision": photographs.full_precision(found),
            "photographs-steps": photographs.steps(found, evidence),
            "neighbours": photographs.neighbours(found, evidence),
            "published-order": photographs.published_order(found, evidence),
            "learned": learned(found, evidence),
            "turned": turned(found, evidence),
            "turned-values": turned_values(found, evidence),
        }


def _peers() -> dict[str, str]:
    with boards_of(PEERS) as (found, evidence):
        return {"peers": peers(found, evidence)}


def written(text: str, known: dict[str, str]) -> str:
    """A page with its sections as the records give them.

    Raises:
        KeyError: It has a section of a name that nobody knows.
    """
    return SECTION.sub(lambda match: f"{match[1]}{known[match['name']]}\n{match[3]}", text)
