"""Gradient search over quantization scales: the optimisers that Evol-Q is compared with (Frumkin et al. 2023, Tab. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines import losses
from harness.engines.scale_search import Objective, Unit, read_scales, units_of, write_scales
from harness.machine.progress import Task
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.arithmetic import EPSILON
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class GradoptConfig:
    """Settings of ``gradopt``; the paper gives neither learning rates nor step counts."""

    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="torch optimiser")] = "adam"
    passes: Annotated[int, Field(ge=0, description="passes over all units")] = 3
    steps: Annotated[int, Field(ge=1, description="gradient steps per unit and pass")] = 5
    lr: Annotated[float, Field(gt=0, description="learning rate, on the logarithm of the scales unless parameter=raw")] = (
        1e-3
    )
    momentum: Annotated[float, Field(ge=0, lt=1, description="sgd only")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="adamw only")] = 1e-2
    parameter: Annotated[Literal["log", "raw"], Field(description="what is optimised: log(scale) or scale")] = "log"
    scope: Annotated[
        Literal["attention_weights", "block_weights", "block"], Field(description="what a unit optimises, as in evolq")
    ] = "attention_weights"
    order: Annotated[Literal["forward", "reverse"], Field(description="first to last unit, or last to first")] = "forward"
    loss: Annotated[Literal["infonce", "mse", "cosine", "kl"], Field(description="distance between logits")] = "infonce"
    temperature: Annotated[float, Field(gt=0, description="infonce: divides the similarities")] = 3.0
    normalise: Annotated[bool, Field(description="infonce: L2-normalised logits")] = True
    batch: Annotated[int, Field(ge=2, description="calibration images per step")] = 100
    keep: Annotated[
        Literal["best", "last"], Field(description="after a unit keep its scales only if the loss fell, or always")
    ] = "best"


@register(
    "gradopt",
    role=Role.REFINE,
    needs=("scales",),
    version=2,
    paper="Frumkin et al., ICCV 2023, Tab. 7 (SGD, Adam, AdamW on the same scales and loss as Evol-Q)",
)
class Gradopt(Method[GradoptConfig]):
    """Descend a global loss of the logits in the scales of one block at a time, with straight-through rounding."""

    Config = GradoptConfig
    quick: ClassVar[Mapping[str, Any]] = {"passes": 1, "steps": 1}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Run the optimiser; only scales change."""
        config = self.config
        units = units_of(model, config.scope, config.order)
        if not units or not config.passes:
            context.notes["units"] = len(units)
            return
        loss = losses.named(config.loss, temperature=config.temperature, normalise=config.normalise)
        objective = Objective(model, list(calibration.batches(config.batch)), loss, "true_fp", context)
        run = _resumed(model, objective, context)
        if run is None:
            start = objective.first_value(units[0].segment)
            run = {"done": 0, "improved": 0, "start": start, "current": start, "evaluations": 1}
        with context.progress.task("gradopt", config.passes * len(units)) as task:
            task.advance(run["done"])
            for unit in (units * config.passes)[run["done"] :]:
                before, run["current"] = run["current"], self._improve(model, objective, unit, run["current"], task)
                run["improved"] += run["current"] < before
                run["done"] += 1
                context.checkpoint.block_done(model, {**run, "evaluations": objective.evaluations}, {})
        context.notes.update(
            units=len(units),
            loss_start=run["start"],
            loss_end=run["current"],
            units_improved=run["improved"],
            evaluations=objective.evaluations,
            gradient_steps=config.passes * len(units) * config.steps,
        )

    def _improve(self, model: QuantizedModel, objective: Objective, unit: Unit, current: float, task: Task) -> float:
        """Optimise one unit; returns the loss that the model has afterwards."""
        present = read_scales(model, unit)
        found = self._descend(model, objective, unit, present)
        write_scales(model, unit, found)
        loss = objective.value(unit.segment)
        task.advance()
        if self.config.keep == "best" and not loss < current:
            write_scales(model, unit, present)
            return current
        objective.changed(unit.segment)
        task.update(f"loss {loss:.5f}")
        return loss

    def _descend(self, model: QuantizedModel, objective: Objective, unit: Unit, present: Tensor) -> Tensor:
        log = self.config.parameter == "log"
        variable = (present.log() if log else present.clone()).requires_grad_(True)
        optimizer = self._optimizer(variable)
        inputs = objective.inputs(unit.segment)
        for step in range(self.config.steps):
            with torch.enable_grad():
                scales = variable.exp() if log else variable.abs().clamp_min(EPSILON)
                write_scales(model, unit, scales)
                index = step % len(inputs)
                loss = objective.loss(model.run(inputs[index], unit.segment), objective.targets[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        result = variable.detach()
        return (result.exp() if log else result.abs()).clamp_min(EPSILON)

    def _optimizer(self, variable: Tensor) -> torch.optim.Optimizer:
        config = self.config
        if config.optimizer == "sgd":
            return torch.optim.SGD([variable], lr=config.lr, momentum=config.momentum)
        if config.optimizer == "adam":
            return torch.optim.Adam([variable], lr=config.lr)
        return torch.optim.AdamW([variable], lr=config.lr, weight_decay=config.weight_decay)


def _resumed(model: QuantizedModel, objective: Objective, context: Context) -> dict[str, Any] | None:
    """Go back to the state of an interrupted search; None when there is none."""
    kept = context.checkpoint.resume(model)
    if kept is None:
        return None
    objective.evaluations = kept[0]["evaluations"]
    objective.changed(0)
    return kept[0]
