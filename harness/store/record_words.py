"""Parts of a record in one line of text, as tables have them."""

from __future__ import annotations

from collections.abc import Iterable

from harness.trial.record import CoverageRow, Environment, Record


def device_of(machine: Environment) -> str | None:
    """The GPU, or the CPU with its number of threads: what times may be compared on."""
    if machine.get("device") != "cpu":
        return machine.get("device")
    threads = machine.get("threads", "?")
    return ", ".join(["CPU", str(machine.get("cpu") or "unknown"), f"{threads} thread{'' if threads == 1 else 's'}"])


def altered_of(record: Record) -> str | None:
    """How the stack altered the network itself; None where it did not."""
    return "; ".join(record.get("altered", [])) or None


def coverage_of(rows: Iterable[CoverageRow]) -> str | None:
    """Which tensors are quantized at how many bits, in one line, fewest bits first."""
    by_bits: dict[str, list[str]] = {}
    for entry in rows:
        bits = "/".join(map(str, entry.get("bits", []))) or "32"
        whole = entry.get("quantized") in (entry.get("total"), 0)
        name = entry["tensors"] if whole else f"{entry['tensors']} ({entry['quantized']} of {entry['total']})"
        by_bits.setdefault(bits, []).append(name)
    parts = [f"{bits} bit: {', '.join(names)}" for bits, names in sorted(by_bits.items(), key=lambda item: item[0].zfill(4))]
    return "; ".join(parts) or None
