"""Gradient search over quantization scales: the optimisers that Evol-Q is compared with (Frumkin et al. 2023, Tab. 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines import losses
from harness.engines.descent import Descent, Steps, chosen_steps
from harness.engines.held_out import BestScales, Judge, below_floor, parted
from harness.engines.scale_search import Objective, Unit, batches_of, read_scales, units_of, write_scales
from harness.machine.progress import Task
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel

BEST = "best/"


@dataclass(frozen=True)
class GradoptConfig:
    """Settings of ``gradopt``; the paper gives neither learning rates nor step counts, so the method chooses them."""

    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="torch optimiser")] = "adam"
    passes: Annotated[int, Field(ge=0, description="passes over all units")] = 3
    choose: Annotated[
        Literal["held_out", "given"],
        Field(description="learning rate and steps: tried on some units and judged on held-out images, or lr and steps"),
    ] = "held_out"
    tried_units: Annotated[int, Field(ge=1, description="choose=held_out: units tried on, evenly spaced")] = 2
    steps: Annotated[
        int, Field(ge=1, description="gradient steps per unit and pass; choose=held_out tries a quarter of them too")
    ] = 20
    lr: Annotated[
        float, Field(gt=0, description="choose=given: learning rate, on the logarithm of the scales unless parameter=raw")
    ] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1, description="sgd only")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="adamw only; it pulls log(scale) to zero")] = 1e-2
    parameter: Annotated[Literal["log", "raw"], Field(description="what is optimised: log(scale) or scale")] = "log"
    scope: Annotated[
        Literal["attention_weights", "block_weights", "block"], Field(description="what a unit optimises, as in evolq")
    ] = "attention_weights"
    order: Annotated[Literal["forward", "reverse"], Field(description="first to last unit, or last to first")] = "forward"
    loss: Annotated[Literal["infonce", "mse", "cosine", "kl", "fisher"], Field(description="distance between logits")] = (
        "infonce"
    )
    temperature: Annotated[float, Field(gt=0, description="infonce: divides the similarities")] = 3.0
    formula: Annotated[
        Literal["release", "paper"], Field(description="infonce: of normalised logits, or of inner products, as in evolq")
    ] = "release"
    batch: Annotated[int, Field(ge=2, description="calibration images per step")] = 100
    held_out: Annotated[
        float,
        Field(ge=0, lt=1, description="share of the calibration images that is not optimised on, but judges"),
    ] = 0.25
    keep: Annotated[
        Literal["best", "last"], Field(description="after a unit keep its scales only if the loss fell, or always")
    ] = "best"


@register(
    "gradopt",
    role=Role.REFINE,
    needs=("scales",),
    version=4,  # 4: gradients of scales of logarithms and twin ranges; 3: rate and steps chosen on held-out images
    paper="Frumkin et al., ICCV 2023, Tab. 7 (SGD, Adam, AdamW on the same scales and loss as Evol-Q)",
)
class Gradopt(Method[GradoptConfig]):
    """Descend a global loss of the logits in the scales of one block at a time, with straight-through rounding."""

    Config = GradoptConfig
    quick: ClassVar[Mapping[str, Any]] = {"passes": 1, "steps": 1, "tried_units": 1}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Choose learning rate and steps, then run the optimiser; only scales change.

        With held-out images the scales after the best pass remain, which may be those of before the first.
        """
        config = self.config
        units = units_of(model, config.scope, config.order)
        if not units or not config.passes:
            context.notes["units"] = len(units)
            return
        run = _Run(model, calibration, units, config, context)
        with context.progress.task("gradopt", config.passes * len(units)) as task:
            run.run(task)
        context.notes.update(run.notes())


class _Run:
    """One run of the optimiser over all units."""

    def __init__(
        self, model: QuantizedModel, calibration: CalibrationSet, units: list[Unit], config: GradoptConfig, context: Context
    ) -> None:
        self.model = model
        self.units = units
        self.config = config
        self.context = context
        self.done = self.improved = 0
        self.current = math.nan
        self.steps: Steps | None = None
        self.tried: list[dict[str, float]] = []
        searched, held = parted(calibration.images, config.held_out)
        self.objective = self._objective(searched, 0)
        self.judge = Judge(self._objective(held, len(searched)) if len(held) else None)
        self.best = BestScales(model, units)
        self.descent = Descent(
            self.objective, config.optimizer, config.parameter == "log", config.momentum, config.weight_decay
        )

    def _objective(self, images: Tensor, offset: int) -> Objective:
        config = self.config
        loss = losses.named(config.loss, temperature=config.temperature, normalise=config.formula == "release")
        return Objective(self.model, batches_of(images, config.batch), loss, "true_fp", self.context, offset)

    def run(self, task: Task) -> None:
        """Choose, then all passes over all units, from the last finished one after an interruption."""
        steps = self.resume()
        task.advance(self.done)
        if steps is None:
            self.current = self.objective.first_value(self.units[0].segment)
            self.judge.judge(self.units[0].segment)
            self.pass_done()
            steps = self.chosen()
        self.steps = steps
        for unit in (self.units * self.config.passes)[self.done :]:
            self.improve(unit, steps)
            task.advance()
            task.update(f"loss {self.current:.5f}")
            self.done += 1
            if self.done % len(self.units) == 0:
                self.pass_done()
            self.save(steps)
        self.best.restore()

    def chosen(self) -> Steps:
        """Learning rate and number of steps."""
        config = self.config
        if config.choose == "given":
            return Steps(config.lr, config.steps)
        count = min(config.tried_units, len(self.units))
        units = [self.units[index * len(self.units) // count] for index in range(count)]
        steps, self.tried = chosen_steps(self.descent, self.judge, units, config.steps)
        return steps

    def improve(self, unit: Unit, steps: Steps) -> None:
        """Optimise one unit."""
        present = read_scales(self.model, unit)
        write_scales(self.model, unit, self.descent.descend(unit, present, steps))
        loss = self.objective.value(unit.segment)
        if not math.isfinite(loss) or (self.config.keep == "best" and not loss < self.current):
            write_scales(self.model, unit, present)
            return
        self.improved += loss < self.current
        self.current = loss
        self.objective.changed(unit.segment)
        self.judge.judge(unit.segment)

    def pass_done(self) -> None:
        """Draw the curves, and remember the scales if they are the best so far (without held-out images: always)."""
        self.judge.draw(self.current)
        self.best.offer(self.judge.merit(self.current), self.current, always=self.judge.objective is None)

    def save(self, steps: Steps) -> None:
        """Let an interrupted run go on after this unit."""
        facts = {"done": self.done, "improved": self.improved, "current": self.current, "tried": self.tried}
        facts |= {"best": self.best.facts(), "judge": self.judge.facts(), "evaluations": self.objective.evaluations}
        facts |= {"lr": steps.lr, "steps": steps.count}
        tensors = {BEST + name: tensor for name, tensor in self.best.tensors().items()}
        self.context.checkpoint.block_done(self.model, facts, tensors)

    def resume(self) -> Steps | None:
        """Go back to the state of an interrupted run; None when there is none."""
        kept = self.context.checkpoint.resume(self.model)
        if kept is None:
            return None
        facts, tensors = kept
        for name in ("done", "improved", "current", "tried"):
            setattr(self, name, facts[name])
        self.best.resume(facts["best"], {name.removeprefix(BEST): tensor for name, tensor in tensors.items()})
        self.judge.resume(facts["judge"])
        self.objective.evaluations = facts["evaluations"]
        self.objective.changed(0)
        return Steps(facts["lr"], facts["steps"])

    def notes(self) -> dict[str, Any]:
        """What the run did, for the record."""
        assert self.steps is not None
        tried = sum(row["gradient_steps"] for row in self.tried)
        notes: dict[str, Any] = {
            "units": len(self.units),
            "loss_start": self.judge.curves["loss"][0],
            "loss_end": self.current,
            "loss_selected": self.best.loss,
            "loss_floor": self.objective.floor,
            "units_improved": self.improved,
            "lr": self.steps.lr,
            "steps": self.steps.count,
            "tried": self.tried,
            "evaluations": self.objective.evaluations,
            "held_out_evaluations": self.judge.evaluations,
            "gradient_steps": int(tried) + self.config.passes * len(self.units) * self.steps.count,
            "images_held_out": self.judge.images,
            "curves": self.judge.curves,
        }
        warning = below_floor(self.current, self.objective.floor)
        return notes | ({"warning": warning} if warning else {})
