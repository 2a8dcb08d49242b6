"""Which measurement of latency stands in a cell: all of a report are of one machine, runtime and batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import UsageError, nearest
from harness.trial.latency import Latency, TimedBatch, digest_of, place_of

Pair = tuple[Latency, TimedBatch]
NOTE = (
    "Latency: time of the exported file over that of its float32 model in the same runtime, median of interleaved rounds "
    "with its 95 % interval; below 1 it is faster. Bit-operations do not rank latency."
)


@dataclass(frozen=True)
class Timing:
    """What was measured of one trial.

    Attributes:
        ratio: Quantized over float32 time.
        low: Lower end of its 95 % interval.
        high: Upper end.
        quantized_ms: Of one batch.
        float32_ms: Of one batch of the float32 model.
        busy: Whether other processes used the machine meanwhile.
    """

    ratio: float
    low: float
    high: float
    quantized_ms: float
    float32_ms: float
    busy: bool


@dataclass(frozen=True)
class Latencies:
    """The measurements of a report.

    Attributes:
        place: Where they were made: machine, threads, runtime, batch size; empty where there are none.
        timings: By trial.
        disk_bytes: Size of the exported file by trial, wherever it was measured.
        others: The other places with the number of trials that were measured there, most first.
    """

    place: str = ""
    timings: Mapping[str, Timing] = field(default_factory=dict)
    disk_bytes: Mapping[str, int] = field(default_factory=dict)
    others: tuple[tuple[str, int], ...] = ()

    def note(self) -> str:
        """What the columns are, where they were measured, and where else there are measurements; empty for none."""
        if not self.place:
            return ""
        more = "; ".join(f"{place} ({count})" for place, count in self.others)
        return f"{NOTE} Measured on {self.place}." + (f" Also measured, and not shown (--machine): {more}." if more else "")


def latencies(measured: Mapping[str, Sequence[Latency]], machine: str | None = None) -> Latencies:
    """Choose the place where most trials were measured, and of each trial one measurement there.

    Of several the newest counts, and those on a quiet machine before others.

    Args:
        measured: Measurements by trial.
        machine: Part of the name of the place to choose; upper and lower case are the same.

    Raises:
        UsageError: No place has such a name.
    """
    places = _by_place(measured)
    ordered = sorted(places, key=lambda place: (-len(places[place]), place))
    names = {place: f"{place[0]}, batch {place[1]}" for place in ordered}
    matching = [place for place in ordered if (machine or "").lower() in names[place].lower()]
    if machine is not None and not matching:
        known = "; ".join(names.values()) or "none: no latency is measured (harness latency)"
        hint = nearest(machine, names.values())
        raise UsageError(f"no latency was measured on a machine like {machine!r}.{hint} Measured on: {known}")
    disk = {trial: max(found, key=_age)["quantized"]["bytes"] for trial, found in measured.items() if found}
    if not matching:
        return Latencies(disk_bytes=disk)
    chosen = places[matching[0]]
    disk |= {trial: latency["quantized"]["bytes"] for trial, (latency, _) in chosen.items()}
    others = tuple((names[place], len(places[place])) for place in ordered if place != matching[0])
    timings = {trial: _timing(*pair) for trial, pair in chosen.items()}
    return Latencies(names[matching[0]], timings, disk, others)


def _by_place(measured: Mapping[str, Sequence[Latency]]) -> dict[tuple[str, int], dict[str, Pair]]:
    """By machine, batch size and trial the measurement that counts."""
    found: dict[tuple[str, int], dict[str, Pair]] = {}
    for trial, several in measured.items():
        for latency in sorted(several, key=_worth):  # the one that counts comes last
            for batch in latency["batches"]:
                found.setdefault((place_of(latency), batch["batch"]), {})[trial] = latency, batch
    return found


def _age(latency: Latency) -> tuple[str, str]:
    return latency["created"], digest_of(latency)


def _worth(latency: Latency) -> tuple[bool, str, str]:
    return latency["quiet"] is not False, *_age(latency)


def _timing(latency: Latency, batch: TimedBatch) -> Timing:
    return Timing(
        ratio=batch["ratio"],
        low=batch["low"],
        high=batch["high"],
        quantized_ms=batch["quantized_ms"],
        float32_ms=batch["float32_ms"],
        busy=latency["quiet"] is False,
    )
