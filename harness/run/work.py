"""One trial on its way: what it was given, and what it has produced so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from harness.machine.measure import load_per_core
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.method.checkpoint import Checkpoint
from harness.quant.network.qmodel import QuantizedModel
from harness.run.prepare import Prepared
from harness.run.session import Session
from harness.run.stages import Stages
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store
from harness.trial.record import Results


@dataclass(frozen=True)
class Given:
    """All that the work on a trial needs.

    Attributes:
        prepared: The checked trial.
        store: Where records and saved work are.
        progress: Display.
        session: What stays in memory from trial to trial.
        budget: For what methods keep.
        share: Keep saved work for other trials.
        reuse: Take over saved work of other trials.
    """

    prepared: Prepared
    store: Store
    progress: Progress
    session: Session
    budget: Budget
    share: bool
    reuse: bool

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.prepared.device

    @property
    def states(self) -> PrefixStates:
        """States of stack prefixes in the store."""
        return PrefixStates(self.store)


@dataclass
class Done:
    """What a trial has produced so far; all of it reaches its record, also when the trial fails.

    Attributes:
        stages: What each finished step cost.
        started: Clock when the trial started, in seconds.
        load: Of the machine then, see ``load_per_core``.
        model: The network, once it is captured.
        results: Metrics and the description of the quantized network, once it is evaluated.
        searches: Saved states of finished steps that nothing else on disk replaces yet.
        correct: Boolean ``(2, n)``, likewise: right by top-1, quantized and full precision.
    """

    stages: Stages
    started: float = field(default_factory=time.perf_counter)
    load: float | None = field(default_factory=load_per_core)
    model: QuantizedModel | None = None
    results: Results = field(default_factory=Results)
    searches: list[Checkpoint] = field(default_factory=list)
    correct: np.ndarray | None = None
