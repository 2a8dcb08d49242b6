"""What a recipe must keep to."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.trial.record import ExpectedDrop, Record


@dataclass(frozen=True)
class Limits:
    """Constraints; None where there is none.

    Attributes:
        drop: Points of top-1 that may be lost, as full precision's own probabilities expect it.
        size: Bytes that the network may have: its stored codes, or with a target those of the exported file too.
        seconds: That quantizing may take.
        target: What it is exported for.

    Raises:
        UsageError: A number is below zero, or of bytes or seconds there are none.
    """

    drop: float | None = None
    size: int | None = None
    seconds: float | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        if self.drop is not None and not self.drop >= 0:
            raise UsageError(f"--max-drop {self.drop} is not possible: expected 0 or more")
        for name, value in {"bytes": self.size, "seconds": self.seconds}.items():
            if value is not None and not value > 0:
                raise UsageError(f"--max-{name} {value} is not possible: expected more than 0")

    def never(self, record: Record) -> list[str]:
        """What is taken as broken for good: more calibration images take longer, and sizes hardly depend on them."""
        broken = []
        if self.size is not None and record["size_bytes"] > self.size:
            broken.append(f"{record['size_bytes']:,} bytes, at most {self.size:,} allowed")
        if self.seconds is not None and seconds_of(record) > self.seconds:
            broken.append(f"{seconds_of(record):.1f} s to quantize, at most {self.seconds:g} allowed")
        return broken

    def broken(self, record: Record) -> list[str]:
        """All that a finished candidate breaks; empty where it keeps to everything."""
        drop = expected_drop_of(record)["value"]
        broken = self.never(record)
        if self.drop is not None and drop > self.drop:
            broken.append(f"expected to lose {drop:.2f} points, at most {self.drop:g} allowed")
        return broken


def expected_drop_of(record: Record) -> ExpectedDrop:
    """What full precision's own probabilities expect to be lost.

    Raises:
        UsageError: The record is older than this figure.
    """
    found = record.get("expected_drop")
    if found is None:
        raise UsageError(
            f"record {record['id']} has no expected drop: it was made by an earlier version",
            "run its command again with --force, or recommend with another --store",
        )
    return found


def seconds_of(record: Record) -> float:
    """What the stack costs alone, without the evaluation."""
    return sum(stage["seconds"] for stage in record["stages"] if stage["name"] != "evaluate")
