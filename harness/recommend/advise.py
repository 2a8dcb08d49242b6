"""The whole of it: candidates compete on held-out calibration images, then the front is evaluated once.

Everything that is run is an ordinary trial in the store: a second call runs nothing, and each has a command that repeats it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.deploy.file_size import CODE_BITS, exported_bytes
from harness.deploy.refusals import refusals
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.recommend.choice import Prefer, chosen, front, nearest_miss
from harness.recommend.halving import Outcome, halve
from harness.recommend.limits import Limits, expected_drop_of
from harness.recommend.portfolio import Candidate
from harness.run import run_trial as trials
from harness.run.reload import QuantizedNetwork, load_quantized
from harness.run.session import Session
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import EVALUATION, HELD_OUT, TrialSpec

Candidates = Sequence[Candidate]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        spec: Network, data, calibration images, seed and how to run; its stack and widths are not used.
        limits: What a recipe must keep to.
        prefer: What is left to be wished for.
        judges: Held-out images at most.
        evaluate: Run the chosen recipe and the front on the evaluation side at the end.
    """

    spec: TrialSpec
    limits: Limits
    prefer: Prefer
    judges: int
    evaluate: bool = True

    def command(self, candidate: Candidate) -> str:
        """The command line that runs a recipe on the evaluation side."""
        return dataclasses.replace(self.spec, bits=candidate.bits).command(candidate.stack)


@dataclass(frozen=True)
class Advice:
    """What is recommended, and what else was tried.

    Attributes:
        question: What was asked.
        outcomes: Of every candidate, in the portfolio's order.
        best: The recommended one; None where none keeps to the limits.
        front: Those that no smaller one beats, smallest first.
        evaluated: Trials on the evaluation side by candidate.
        unevaluated: Why those could not be run that have none.
        passes: Image forwards spent by the competition; what was known already counts.
    """

    question: Question
    outcomes: Sequence[Outcome]
    best: Outcome | None
    front: Sequence[Outcome]
    evaluated: dict[Candidate, Record] = field(default_factory=dict)
    unevaluated: dict[Candidate, str] = field(default_factory=dict)
    passes: float = 0.0

    @property
    def nearest(self) -> Outcome | None:
        """The candidate that misses the limits least, where none keeps to them."""
        return None if self.best is not None else nearest_miss(self.outcomes, self.question.limits)


class Adviser:
    """Answers one question.

    Args:
        question: What is asked.
        store: Where trials are kept.
        progress: Display.
    """

    def __init__(self, question: Question, store: Store, progress: Progress) -> None:
        self._question, self._store, self._progress = question, store, progress
        self._session = Session()
        self._passes = 0.0

    def advise(self, candidates: Candidates) -> Advice:
        """Let the candidates compete, choose, and only then open the evaluation side.

        Raises:
            UsageError: No candidate can begin: network, data or numbers are not as expected.
        """
        limits = self._question.limits
        outcomes = halve(candidates, self._question.spec.calib, self._judged, limits, self._refused)
        if all(one.record is None for one in outcomes):
            raise UsageError(outcomes[0].reason)
        best, best_by_size = chosen(outcomes, limits, self._question.prefer), front(outcomes)
        advice = Advice(self._question, outcomes, best, best_by_size, passes=self._passes)
        if self._question.evaluate:
            self._evaluate(advice)
        return advice

    def _judged(self, candidate: Candidate, calib: int) -> Outcome:
        """A candidate on the held-out images."""
        spec = self._spec(candidate, judge=HELD_OUT, calib=calib, eval_limit=self._question.judges)
        self._progress.say(f"{candidate}: {calib} calibration images")
        try:
            record = trials.run_trial(spec, self._store, self._progress, session=self._session).record
            if record["status"] == "done":
                expected_drop_of(record)
        except UsageError as error:
            return Outcome(candidate, calib, None, str(error))
        self._passes += sum(stage.get("image_forwards", 0.0) for stage in record["stages"])
        return Outcome(candidate, calib, record)

    def _evaluate(self, advice: Advice) -> None:
        """The chosen recipe and the front on the evaluation side, once each; what cannot begin there is named."""
        chosen_first = [*([advice.best] if advice.best else []), *advice.front]
        for one in dict.fromkeys(outcome.candidate for outcome in chosen_first):
            self._progress.say(f"{one}: evaluation images")
            spec = self._spec(one, judge=EVALUATION)
            try:
                advice.evaluated[one] = trials.run_trial(spec, self._store, self._progress, session=self._session).record
            except UsageError as error:
                advice.unevaluated[one] = str(error)

    def _spec(self, candidate: Candidate, **more: Any) -> TrialSpec:
        return dataclasses.replace(self._question.spec, method=candidate.stack, bits=candidate.bits, **more)

    def _refused(self, record: Record) -> str:
        """Why a finished trial cannot be exported for the target; empty where it can, or where none is asked for."""
        if self._question.limits.target is None:
            return ""
        try:
            network = load_quantized(self._store, record["id"], weights=self._question.spec.weights)
        except UsageError as error:  # another library's network is no file of ours
            return f"not for {self._question.limits.target}: {error}"
        steps = [step["name"] for step in record["spec"]["stack"]]
        found = refusals(network.model, steps, float_layernorm=False)
        if not found:
            return self._too_large(network)
        return f"not for {self._question.limits.target}: {found[0].reason} at {len(found)} sites; {found[0].fix} has a form"

    def _too_large(self, network: QuantizedNetwork) -> str:
        """Why the exported file would break the limit on bytes: a runtime's codes have eight bits at least."""
        limits, size = self._question.limits, exported_bytes(network.model)
        if limits.size is None or size <= limits.size:
            return ""
        there = f"{size:,} bytes there with codes of {CODE_BITS} bits"
        return f"not for {limits.target}: {there}, at most {limits.size:,} allowed"
