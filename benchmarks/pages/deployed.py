"""What the pages say of exported networks: a line for each stack, from ``benchmarks/deployed.py``."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.pages.lines import Row, network_name, read, table
from benchmarks.pages.searches import ROOT

DEPLOYED = ROOT / "benchmarks" / "deployed.csv"
HEADERS = [
    "network",
    "bits",
    "stack",
    "outcome",
    "top-1 simulated",
    "in the runtime",
    "SQNR dB",
    "MB",
    "integer work",
    "time",
]


def deployed(path: Path = DEPLOYED) -> str:
    """Exported or refused, and what the exported files are like."""
    rows = read(path)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    rows.sort(key=lambda row: networks.index(row["network"]))  # lines were measured in another order
    shown = table(rows, HEADERS, _line)
    return f"{shown}\n\n{_about(rows)}" if rows else shown


def _line(row: Row) -> list[str]:
    start = [network_name(row), row["bits"], f"`{row['stack']}`"]
    if row["outcome"] != "exported":
        return [*start, f"{row['outcome']}: {_short(row['reason'])}", *["-"] * 6]
    runtime = f"{_number(row, 'top1_runtime')} ({_ends(row, 'low', 'high', '+.1f')})" if row["top1_runtime"] else "-"
    work = f"{100 * float(row['integer_macs']):.1f} % ({100 * float(row['integer_macs_of_layers']):.1f} %)"
    megabytes = f"{int(row['bytes']) / 1e6:.2f}"
    return [*start, "exported", _number(row, "top1"), runtime, _number(row, "sqnr_db_runtime"), megabytes, work, _times(row)]


def _number(row: Row, name: str) -> str:
    return f"{float(row[name]):.1f}" if row[name] else "-"


def _ends(row: Row, low: str, high: str, form: str) -> str:
    return f"{float(row[low]):{form}} to {float(row[high]):{form}}"


def _times(row: Row) -> str:
    """At batch 1 and 32, with intervals."""
    found = [
        f"{float(row[name]):.2f} ({_ends(row, f'{name}_low', f'{name}_high', '.2f')})"
        for name in ("ratio_1", "ratio_32")
        if row[name]
    ]
    return "; ".join(found) or "-"


def _short(reason: str) -> str:
    """The first place and why: what a refusal says before the setting that mends it."""
    text = re.sub(r"^trial [0-9a-f]{16} has no integer form at (\d+) sites; nothing was written ", r"\1 sites, ", reason)
    return text.partition("; mend it")[0].replace("|", "\\|")[:200]


def _about(rows: list[Row]) -> str:
    """Where it was measured."""
    exported = [row for row in rows if row["outcome"] == "exported"]
    machines = sorted({f"{row['runtime']} on one thread of {row['cpu']}" for row in exported if row["cpu"]})
    busy = sum(row["quiet"] == "False" for row in exported)
    share = f"{len(exported)} of {len(rows)} exported"
    noise = f" {busy} of the times were taken beside other work." if busy else ""
    return f"{share}. Times: quantized over float32 at batch 1; at batch 32; {'; '.join(machines) or 'not measured'}.{noise}"
