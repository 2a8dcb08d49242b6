"""One cell of a leaderboard: a stack on a network, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.grouping import Group
from harness.leaderboard.board.latencies import Timing
from harness.leaderboard.board.quality import Quality, quality_of
from harness.leaderboard.stats.inference import Interval
from harness.trial.record import BUSY


@dataclass(frozen=True)
class BoardCell:
    """One stack on one network.

    Attributes:
        ids: Its records, by seed.
        seeds: Their seeds.
        top1: Their accuracies in percent.
        expected: How many seeds other stacks of this column have: a smaller number of seeds is shown.
        top1_fp32: Of the full-precision network.
        agreement: Mean agreement with full precision in percent.
        seconds_by_seed: Time of the stack without evaluation.
        size_bytes: Of the quantized model.
        bit_operations: Per image.
        coverage: What is quantized at how many bits.
        command: Repeats the first record.
        device: Hardware that the times were measured on.
        mark: ``best``; ``tied``: in the best set too; ``unknown``: no per-image results to tell by; empty: shown to be
            worse, or not ranked.
        overlap: Most calibration images of a record that are evaluation images too (``--allow-overlap``).
        key: Of its group (``grouping``): everything but the seed, the same in every store.
        interval: Mean with its 95 % interval over images and seeds; over the images of one seed without per-image results.
        rank: Rank among what competes in its column with its 95 % interval over images; None where it is not known.
        commits: Commits of this project that its records were made with.
        origins: Where its records come from; ``own`` for those measured in this store.
        timings: Latencies of those of its exported files that were measured, all in one place.
        disk_bytes: Of its exported file; not a number where none was measured.
        latency_on: Where latencies were measured; empty for nowhere.
        load: Largest load per core of the machine while a record was made; None where none says.
        noise: Mean agreement of the network with itself under the other arithmetic in percent; None where it is not known.
        noise_sqnr: The logits' signal-to-noise ratio between both in decibel; None where it is not known.
        quality: What there is beyond top-1.
        altered: How the stack altered the network itself; empty where it is the checkpoint's.
    """

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    top1: tuple[float, ...]
    expected: int
    top1_fp32: float
    agreement: float
    seconds_by_seed: tuple[float, ...]
    size_bytes: float
    bit_operations: float
    coverage: str
    command: str
    device: str
    mark: str = ""
    overlap: int = 0
    key: str = ""
    interval: Interval | None = None
    rank: Interval | None = None
    commits: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    load: float | None = None
    timings: tuple[Timing, ...] = ()
    disk_bytes: float = math.nan
    latency_on: str = ""
    noise: float | None = None
    noise_sqnr: float | None = None
    quality: Quality | None = None
    altered: str = ""

    @property
    def busy(self) -> bool:
        """Whether its times were measured beside other work on the same cores."""
        return self.load is not None and self.load > BUSY

    @property
    def seconds(self) -> float:
        """Mean time of the stack without evaluation."""
        return float(np.mean(self.seconds_by_seed))

    @property
    def latency(self) -> float:
        """Mean ratio of quantized to float32 time; not a number where none was measured."""
        return float(np.mean(self.latency_by_seed))

    @property
    def latency_by_seed(self) -> tuple[float, ...]:
        """The ratio of each seed that was measured; one that is not a number where none was."""
        return tuple(one.ratio for one in self.timings) or (math.nan,)

    @property
    def latency_interval(self) -> Interval | None:
        """The mean with its 95 % interval; of several seeds with the outermost ends. None where none was measured."""
        if not self.timings:
            return None
        return Interval(self.latency, min(one.low for one in self.timings), max(one.high for one in self.timings))

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.top1))

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed."""
        return float(np.std(self.top1, ddof=1)) if len(self.top1) > 1 else None

    @property
    def complete(self) -> bool:
        """Whether every expected seed is there."""
        return len(self.top1) >= self.expected


def cell_of(group: Group, expected: int, evidence: Evidence) -> BoardCell:
    """The cell of a group, not yet marked.

    Args:
        group: Its records.
        expected: How many seeds the column has.
        evidence: Per-image results, for the interval, and latencies.
    """
    rows, first = group.rows, group.rows[0]
    ids = tuple(str(row["id"]) for row in rows)
    loads = _numbers(row["load"] for row in rows)
    measured = evidence.latencies
    timings = tuple(measured.timings[trial] for trial in ids if trial in measured.timings)
    return BoardCell(
        ids=ids,
        seeds=group.seeds,
        top1=tuple(float(row["top1"]) for row in rows),
        expected=expected,
        top1_fp32=_mean(row["top1_fp32"] for row in rows),
        agreement=_mean(row["agreement"] for row in rows),
        seconds_by_seed=tuple(float("nan") if row["seconds_stack"] is None else row["seconds_stack"] for row in rows),
        size_bytes=_mean(row["size_bytes"] for row in rows),
        bit_operations=_mean(row["bit_operations"] for row in rows),
        coverage=first["coverage"] or "",
        command=first["command"] or "",
        device=" and ".join(_texts(row["device"] or "" for row in rows)),
        overlap=max(int(row["overlap"] or 0) for row in rows),
        key=group.key,
        interval=evidence.accuracy(ids).interval,
        commits=_texts(row["commit"] for row in rows if row["commit"]),
        origins=_texts(row["origin"] or "own" for row in rows),
        load=max(loads, default=None),
        timings=timings,
        disk_bytes=_mean(measured.disk_bytes.get(trial) for trial in ids),
        latency_on=measured.place if timings else "",
        noise=_mean_or_none(row["noise_agreement"] for row in rows),
        noise_sqnr=_mean_or_none(row["noise_sqnr_db"] for row in rows),
        quality=quality_of(rows),
        altered="; ".join(_texts(row["altered"] for row in rows if row["altered"])),
    )


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted(set(map(str, values))))


def _numbers(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _mean(values: Iterable[Any]) -> float:
    known = _numbers(values)
    return float(np.mean(known)) if known else float("nan")


def _mean_or_none(values: Iterable[Any]) -> float | None:
    known = _numbers(values)
    return float(np.mean(known)) if known else None
