"""Gradient descent in the scales of one unit, and the choice of its learning rate and number of steps.

A learning rate that suits 8 bits does nothing at 3 bits, and SGD needs another one than Adam. So the rate is part of the
method: each candidate is tried on a few units from the calibrated scales, and the one that brings the held-out images'
logits closest to full precision is taken. A rival of a search must be able to move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engines.held_out import Judge
from harness.engines.scale_search import Objective, Unit, read_scales, write_scales
from harness.errors import IncompatibleError
from harness.quant.format.arithmetic import EPSILON
from harness.quant.network.qmodel import QuantizedModel

# First step of a scale as a share of it. Adam's step is its learning rate; SGD's is the rate times the gradient.
FIRST_STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SHORT = 4  # a quarter of the steps is tried too
HOPELESS = -1e9  # stands for what is not finite: records are JSON


@dataclass(frozen=True)
class Steps:
    """How far a unit is optimised.

    Attributes:
        lr: Torch's learning rate.
        count: Gradient steps.
    """

    lr: float
    count: int


class Descent:
    """Optimises one unit with straight-through rounding.

    Args:
        objective: The loss to lower; one of its batches per step, in turn.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        log: Optimise the logarithm of the scales.
        momentum: Of SGD.
        weight_decay: Of AdamW.
    """

    def __init__(self, objective: Objective, optimizer: str, log: bool, momentum: float, weight_decay: float) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.log = log
        self.momentum = momentum
        self.weight_decay = weight_decay

    def descend(
        self, unit: Unit, present: Tensor, steps: Steps, watch: Callable[[int, Tensor], None] | None = None
    ) -> Tensor:
        """The unit's scales after some steps; the model is left with other ones.

        Args:
            unit: The unit.
            present: Where to start.
            steps: How far to go.
            watch: Called with the number of each step and the scales after it.
        """
        variable = (present.log() if self.log else present.clone()).requires_grad_(True)
        optimizer = self._optimizer(variable, steps.lr)
        for step in range(steps.count):
            optimizer.zero_grad()
            self._backward(unit, variable, step)
            optimizer.step()
            if watch is not None:
                watch(step + 1, self._scales(variable.detach()))
        return self._scales(variable.detach())

    def gradient(self, unit: Unit, present: Tensor) -> Tensor:
        """The gradient in the optimised variable at the present scales, which stay."""
        variable = (present.log() if self.log else present.clone()).requires_grad_(True)
        self._backward(unit, variable, 0)
        write_scales(self.objective.model, unit, present)
        assert variable.grad is not None
        return variable.grad

    def _backward(self, unit: Unit, variable: Tensor, step: int) -> None:
        inputs = self.objective.inputs(unit.segment)
        index = step % len(inputs)
        with torch.enable_grad():
            write_scales(self.objective.model, unit, self._scales(variable))
            logits = self.objective.model.run(inputs[index], unit.segment)
            if not logits.requires_grad:
                raise _no_gradient(self.objective.model, unit)
            self.objective.loss(logits, self.objective.targets[index]).backward()

    def _scales(self, variable: Tensor) -> Tensor:
        return (variable.exp() if self.log else variable.abs()).clamp_min(EPSILON)

    def _optimizer(self, variable: Tensor, lr: float) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD([variable], lr=lr, momentum=self.momentum)
        if self.optimizer == "adam":
            return torch.optim.Adam([variable], lr=lr)
        return torch.optim.AdamW([variable], lr=lr, weight_decay=self.weight_decay)


def _no_gradient(model: QuantizedModel, unit: Unit) -> IncompatibleError:
    """For a unit none of whose number formats gives its scale a gradient."""
    names = sorted({model.quantizers[site].name for site in unit.sites})
    formats = f"number format{'s' if len(names) > 1 else ''} {' and '.join(map(repr, names))}"
    return IncompatibleError(
        f"gradient descent needs gradients of scales, {formats} in {unit.name} gives none",
        "leave gradopt out, or override straight_through in the format",
    )


def learning_rates(descent: Descent, units: Iterable[Unit]) -> list[float]:
    """Candidates whose first step moves a scale by the shares of ``FIRST_STEPS``.

    Adam's first step is its learning rate. SGD's is the rate times the gradient, so its candidates are divided by the
    gradient's root mean square over the units. Without the logarithm a share is one of the scales' mean.
    """
    model = descent.objective.model
    present = {unit: read_scales(model, unit) for unit in units}
    size = 1.0 if descent.log else float(torch.cat(list(present.values())).mean())
    if descent.optimizer == "sgd":
        gradients = torch.cat([descent.gradient(unit, scales) for unit, scales in present.items()])
        size /= max(float(gradients.square().mean().sqrt()), EPSILON)
    return [share * size for share in FIRST_STEPS]


def chosen_steps(descent: Descent, judge: Judge, units: list[Unit], longest: int) -> tuple[Steps, list[dict[str, float]]]:
    """The learning rate and number of steps that help most on held-out images, and what was tried.

    Args:
        descent: The optimiser.
        judge: Judges on held-out images; without any the descent's own loss decides.
        units: Units to try on, each from the present scales.
        longest: Largest number of steps; a quarter of it is tried too.
    """
    counts = sorted({max(1, longest // SHORT), longest})
    rows: list[dict[str, float]] = []
    for lr in learning_rates(descent, units):
        gains = dict.fromkeys(counts, 0.0)
        for unit in units:
            for count, gain in _gains(descent, judge, unit, lr, counts).items():
                gains[count] += gain / len(units)
        spent = len(units) * longest / len(counts)
        rows += [{"lr": lr, "steps": n, "mean_gain": round(gain, 6), "gradient_steps": spent} for n, gain in gains.items()]
    best = max(rows, key=lambda row: row["mean_gain"])
    return Steps(best["lr"], int(best["steps"])), rows


def _gains(descent: Descent, judge: Judge, unit: Unit, lr: float, counts: list[int]) -> dict[int, float]:
    """What a unit alone gains after each number of steps, in dB (without held-out images: in loss); it stays as it was."""
    model, objective = descent.objective.model, descent.objective
    present = read_scales(model, unit)
    found: dict[int, float] = {}

    def merit() -> float:
        judge.judge(unit.segment)
        value = judge.merit(0.0 if judge.objective is not None else objective.value(unit.segment))
        return value if math.isfinite(value) else HOPELESS

    before = merit()

    def watch(step: int, scales: Tensor) -> None:
        if step in counts:
            write_scales(model, unit, scales)
            found[step] = merit() - before

    descent.descend(unit, present, Steps(lr, counts[-1]), watch)
    write_scales(model, unit, present)
    judge.judge(unit.segment)
    return found
