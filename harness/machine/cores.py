"""The cores of the machine: keeping a process on some of them, and what other processes do on them meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from harness.errors import UsageError

QUIET_SHARE = 0.05  # of the machine's cores that others may keep busy on a quiet machine
QUIET_LEAST = 0.1  # cores: on a small machine its services alone may take these
LOOK_SECONDS = 0.2  # how long is looked at which cores are in use
IDLE = ("idle", "iowait", "guest", "guest_nice")  # no work, or work that is counted elsewhere already
TOPOLOGY = Path("/sys/devices/system/cpu")


@contextmanager
def pinned(threads: int) -> Iterator[bool]:
    """Keep this thread, and those that it starts, on as many cores as it may use threads; afterwards all are free again.

    The cores are those that are least in use, each of another physical core where there are enough.

    Args:
        threads: How many.

    Yields:
        Whether they were pinned: some systems do not have that.

    Raises:
        UsageError: This process may use fewer cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    if threads > len(before):
        raise UsageError(
            f"{threads} threads asked for, this process may use {len(before)} cores", "give fewer with --threads"
        )
    use = psutil.cpu_percent(interval=LOOK_SECONDS, percpu=True)
    chosen = least_used(sorted(before), dict(enumerate(use)), siblings(sorted(before)), threads)
    os.sched_setaffinity(0, chosen)
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def least_used(cores: Sequence[int], use: Mapping[int, float], physical: Mapping[int, str], count: int) -> list[int]:
    """The cores to take: of every physical core the least used one first, then the others.

    Args:
        cores: Numbers of the cores to choose from.
        use: Percent in use by number; unknown ones count as idle.
        physical: The physical core of each.
        count: How many to take.
    """
    ordered = sorted(cores, key=lambda core: (use.get(core, 0.0), core))
    firsts: dict[str, int] = {}
    for core in ordered:
        firsts.setdefault(physical.get(core, str(core)), core)
    taken = set(firsts.values())
    return sorted([*(core for core in ordered if core in taken), *(core for core in ordered if core not in taken)][:count])


def siblings(cores: Sequence[int]) -> dict[int, str]:
    """The physical core of each core, as the system names it; each is its own where the system does not say."""
    found = {}
    for core in cores:
        try:
            found[core] = (TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            found[core] = str(core)
    return found


class Ticks(NamedTuple):
    """What was computed up to now.

    Attributes:
        clock: Seconds.
        busy: Seconds of all cores in which they worked, also for other machines on the same hardware.
        own: Of these for this process.
    """

    clock: float
    busy: float
    own: float


def ticks() -> Ticks:
    """Read the counters of the machine and of this process."""
    machine = psutil.cpu_times()
    busy = sum(value for name, value in machine._asdict().items() if name not in IDLE)
    own = psutil.Process().cpu_times()
    return Ticks(time.perf_counter(), float(busy), float(own.user + own.system))


def others_between(start: Ticks, end: Ticks) -> float | None:
    """How many cores other processes kept busy on average; None when no time has passed."""
    seconds = end.clock - start.clock
    if seconds <= 0:
        return None
    return round(max(0.0, (end.busy - start.busy) - (end.own - start.own)) / seconds, 3)


def is_quiet(others: float | None, cores: int | None) -> bool | None:
    """Whether others did next to nothing; None when that is not known.

    Args:
        others: Cores that they kept busy on average.
        cores: Of the machine.
    """
    return None if others is None else others <= max(QUIET_LEAST, QUIET_SHARE * (cores or 1))


def cpu_flags() -> list[str]:
    """Instruction sets of the processor, sorted, as the system names them; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = next((line for line in lines if line.partition(":")[0].strip() in ("flags", "Features")), "")
    return sorted(set(found.partition(":")[2].split()))
