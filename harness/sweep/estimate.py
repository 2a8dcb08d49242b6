"""What trials will cost, from the stages of past records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.trial.record import Record


@dataclass(frozen=True)
class CostEstimate:
    """An estimate.

    Attributes:
        seconds: Known parts only.
        complete: Every part of the trial is known.
    """

    seconds: float
    complete: bool


class Estimator:
    """Medians of past records: a step's seconds per calibration image, an evaluation's seconds.

    Args:
        records: Past records; only done ones of the same kind of device count.
        gpu: Estimate for a GPU.
    """

    def __init__(self, records: Iterable[Record] = (), *, gpu: bool = False) -> None:
        self._gpu = gpu
        self._steps: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._evaluations: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._memory: dict[str, int] = {}
        self._medians: dict[tuple[str, ...], float | None] = {}
        self.count = 0
        for record in records:
            self.learn(record)

    def learn(self, record: Record) -> None:
        """Take one more record into account; one that is not done, or of another kind of device, says nothing."""
        if record["status"] != "done" or (record["environment"].get("device", "cpu") != "cpu") != self._gpu:
            return
        self.count += 1
        self._medians.clear()
        spec = record["spec"]
        names = [step["name"] for step in spec.get("stack", [])]
        stages = [stage for stage in record["stages"] if stage["name"] in names]
        for step, stage in zip(spec.get("stack", []), stages, strict=False):
            self._steps[record["model"], _key(step)].append(stage["seconds"] / max(1, record["calib"]))
        for stage in record["stages"]:
            peak = int(stage.get("peak_memory_bytes", 0))
            self._memory[record["model"]] = max(self._memory.get(record["model"], 0), peak)
            if stage["name"] == "evaluate":
                self._evaluations[_evaluation_key(spec, record["model"])].append(stage["seconds"])

    def steps(self, identity: Mapping[str, Any]) -> list[float | None]:
        """Seconds of each step of a trial's stack; None where no past record had that step on that network."""
        model, calib = identity["model"], identity["calib"]
        found = [self._median(self._steps, (model, _key(step))) for step in identity["stack"]]
        return [None if one is None else one * calib for one in found]

    def evaluation(self, identity: Mapping[str, Any]) -> float | None:
        """Seconds of the evaluation."""
        return self._median(self._evaluations, _evaluation_key(identity, identity["model"]))

    def _median(self, values: Mapping[Any, list[float]], key: tuple[str, ...]) -> float | None:
        """The median under a key, worked out once: a plan asks for the same step many times."""
        if key not in self._medians:
            found = values.get(key)
            self._medians[key] = median(found) if found else None
        return self._medians[key]

    def memory(self, model: str) -> int | None:
        """Largest peak memory of any stage on that network, in bytes."""
        return self._memory.get(model)


def total(parts: Sequence[float | None]) -> CostEstimate:
    """The sum of the known parts."""
    return CostEstimate(sum(part for part in parts if part is not None), all(part is not None for part in parts))


def _key(step: Mapping[str, Any]) -> str:
    return json.dumps(step, sort_keys=True)


def _evaluation_key(identity: Mapping[str, Any], model: str) -> tuple[str, str, str]:
    return model, str(identity.get("data_fingerprint")), str(identity.get("eval_limit"))
