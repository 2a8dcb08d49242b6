"""Evol-Q: evolutionary search over quantization scales (Frumkin et al., ICCV 2023)."""

from __future__ import annotations

import math
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
from harness.method.base import Context, Method, Protocol
from harness.method.registration import Role, register
from harness.quant.format.arithmetic import EPSILON
from harness.quant.network import state
from harness.quant.network.qmodel import QuantizedModel

# Half-width of the mutation by weight width. The paper's table and the released code are swapped (METHODS facts).
MUTATION_PAPER = {8: 1e-3}
MUTATION_RELEASE = {8: 1e-4}
MUTATION_OTHER = {"paper": 1e-4, "release": 1e-3}
RESUMED = ("start", "current", "improved", "best_top1")  # what an interrupted search needs besides scales and random state
BEST = "best/"


@dataclass(frozen=True)
class EvolqConfig:
    """Settings of ``evolq``; every difference between the paper and the released code is one of them."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "mutation": "paper",
            "scope": "block",
            "order": "forward",
            "normalise": False,
            "temperature": 1.0,
            "drop_incomplete": False,
            "clip": "epsilon",
        },
        "release": {
            "mutation": "release",
            "scope": "attention_weights",
            "order": "reverse",
            "normalise": True,
            "temperature": 3.0,
            "drop_incomplete": True,
            "clip": "abs",
            "target": "release",
            "selection": "evaluation",
        },
    }

    preset: Annotated[
        Literal["none", "paper", "release"],
        Field(description="fill the settings not given with the paper's or the released code's values"),
    ] = "none"
    passes: Annotated[int, Field(ge=0, description="P: passes over all units")] = 10
    population: Annotated[int, Field(ge=1, description="K: copies of the present scales a unit starts with")] = 15
    cycles: Annotated[int, Field(ge=1, description="C: children per unit and pass")] = 3
    samples: Annotated[int, Field(ge=1, description="S: members drawn with replacement; the fittest is the parent")] = 10
    mutation: Annotated[
        Literal["release", "paper", "fixed"],
        Field(description="half-width e of U(-e, e): release 1e-4 at 8 bits, else 1e-3; paper 1e-3 at 8 bits, else 1e-4"),
    ] = "release"
    mutation_range: Annotated[float, Field(gt=0, description="e when mutation=fixed")] = 1e-3
    relative: Annotated[bool, Field(description="noise is a fraction of each scale instead of absolute")] = False
    scope: Annotated[
        Literal["attention_weights", "block_weights", "block"],
        Field(
            description="what a unit perturbs: weight scales of an attention module (release), of a block, or all (paper)"
        ),
    ] = "attention_weights"
    order: Annotated[Literal["forward", "reverse"], Field(description="first to last unit, or last to first")] = "forward"
    clip: Annotated[
        Literal["abs", "epsilon"], Field(description="keep scales positive: |parent + noise| (release) or clamp from below")
    ] = "abs"
    zero_points: Annotated[
        Literal["keep", "move"], Field(description="after a mutation keep zero points, or move them with the scale")
    ] = "keep"
    loss: Annotated[Literal["infonce", "mse", "cosine", "kl"], Field(description="distance between logits")] = "infonce"
    temperature: Annotated[float, Field(gt=0, description="infonce: divides the similarities")] = 3.0
    normalise: Annotated[bool, Field(description="infonce: L2-normalised logits (release) or inner products (paper)")] = True
    batch: Annotated[int, Field(ge=2, description="calibration images per batch; negatives come from the same batch")] = 100
    drop_incomplete: Annotated[bool, Field(description="leave out an incomplete last batch")] = False
    target: Annotated[
        Literal["true_fp", "release"],
        Field(description="logits to match: full precision, or with integer operators left on (release)"),
    ] = "true_fp"
    selection: Annotated[
        Literal["fitness", "evaluation"],
        Field(description="final choice: best fitness, or best top-1 on the EVALUATION images after each unit (a leak)"),
    ] = "fitness"


@register(
    "evolq",
    role=Role.REFINE,
    needs=("scales",),
    version=1,
    paper="Frumkin et al., Jumping through Local Minima: Quantization in the Loss Landscape of Vision Transformers, "
    "ICCV 2023",
)
class Evolq(Method[EvolqConfig]):
    """Perturb the scales of one block at a time and keep what lowers a contrastive loss of the logits."""

    Config = EvolqConfig
    quick: ClassVar[Mapping[str, Any]] = {"passes": 1, "cycles": 1}

    @property
    def protocol(self) -> Protocol:
        """``paper`` when evaluation images select the result."""
        return Protocol.PAPER if self.config.selection == "evaluation" else Protocol.STRICT

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Run the search; only scales (and zero points, if asked for) change."""
        config = self.config
        units = units_of(model, config.scope, config.order)
        if not units or not config.passes:
            context.notes["units"] = len(units)
            return
        loss = losses.named(config.loss, temperature=config.temperature, normalise=config.normalise)
        batches = list(calibration.batches(config.batch, drop_incomplete=config.drop_incomplete))
        objective = Objective(model, batches, loss, config.target, context)
        search = _Search(model, objective, config, self._range(context), context)
        with context.progress.task("evolq", config.passes * len(units) * config.cycles) as task:
            search.run(units, task)
        _note(context, search, units, batches)

    def _range(self, context: Context) -> float:
        if self.config.mutation == "fixed":
            return self.config.mutation_range
        table = MUTATION_PAPER if self.config.mutation == "paper" else MUTATION_RELEASE
        return table.get(context.bits.weight, MUTATION_OTHER[self.config.mutation])


class _Search:
    """One run of the search."""

    def __init__(
        self, model: QuantizedModel, objective: Objective, config: EvolqConfig, mutation: float, context: Context
    ) -> None:
        self.model = model
        self.objective = objective
        self.config = config
        self.mutation = mutation
        self.context = context
        self.generator = context.generator("evolq")
        self.start = self.current = math.nan
        self.improved = 0
        self.best_top1 = -1.0
        self.best_state = state.state_of(model)

    def run(self, units: list[Unit], task: Task) -> None:
        """All passes over all units, from the last finished one when an earlier run was interrupted."""
        done = self.resume()
        task.advance(done * self.config.cycles)
        if not done:
            self.start = self.current = self.objective.first_value(units[0].segment)
        for unit in (units * self.config.passes)[done:]:
            self.improve(unit, task)
            self.select()
            done += 1
            self.keep(done)
        if self.best_top1 >= 0:
            state.restore(self.model, *self.best_state)
            self.context.notes["selected_top1"] = self.best_top1

    def select(self) -> None:
        """The released code's leak: remember the scales that do best on the evaluation images."""
        if self.context.evaluate is None or self.config.selection != "evaluation":
            return
        top1 = self.context.evaluate()
        if top1 > self.best_top1:
            self.best_top1, self.best_state = top1, state.state_of(self.model)

    def keep(self, done: int) -> None:
        """Let an interrupted search go on after unit ``done``."""
        tensors, best_facts = self.best_state if self.best_top1 >= 0 else ({}, {})
        facts = {name: getattr(self, name) for name in RESUMED}
        facts |= {"done": done, "evaluations": self.objective.evaluations, "best_facts": best_facts}
        kept = {BEST + name: tensor for name, tensor in tensors.items()}
        self.context.checkpoint.block_done(self.model, facts, {**kept, "generator": self.generator.get_state()})

    def resume(self) -> int:
        """Go back to the state of an interrupted search; returns the number of units it had finished."""
        kept = self.context.checkpoint.resume(self.model)
        if kept is None:
            return 0
        facts, tensors = kept
        for name in RESUMED:
            setattr(self, name, facts[name])
        self.generator.set_state(tensors.pop("generator"))
        self.best_state = {name.removeprefix(BEST): tensor for name, tensor in tensors.items()}, facts["best_facts"]
        self.objective.evaluations = facts["evaluations"]
        self.objective.changed(0)
        return int(facts["done"])

    def improve(self, unit: Unit, task: Task) -> None:
        """One unit: ``cycles`` children of tournament winners; the unit takes the fittest of the population."""
        present = read_scales(self.model, unit)
        # K references to the present scales: one known fitness serves them all.
        population: list[tuple[float, Tensor]] = [(self.current, present)] * self.config.population
        for _ in range(self.config.cycles):
            child = self.mutate(self.parent(population))
            self.write(unit, child)
            fitness = self.objective.value(unit.segment)
            population.append((fitness if math.isfinite(fitness) else math.inf, child))
            population.sort(key=lambda member: member[0])  # stable: the older of two equals stays ahead
            population.pop()
            task.advance()
        loss, best = population[0]
        self.write(unit, best)
        if best is not present:
            self.objective.changed(unit.segment)
            self.improved += 1
        self.current = loss
        task.update(f"loss {self.current:.5f}")

    def parent(self, population: list[tuple[float, Tensor]]) -> Tensor:
        drawn = torch.randint(len(population), (self.config.samples,), generator=self.generator)
        return min((population[int(index)] for index in drawn), key=lambda member: member[0])[1]

    def mutate(self, parent: Tensor) -> Tensor:
        noise = (torch.rand(parent.shape, generator=self.generator, dtype=torch.float64) * 2 - 1) * self.mutation
        noise = noise.to(parent.device)
        child = parent.double() + (noise * parent if self.config.relative else noise)
        child = child.abs() if self.config.clip == "abs" else child
        return child.clamp_min(EPSILON).float()

    def write(self, unit: Unit, scales: Tensor) -> None:
        write_scales(self.model, unit, scales, move_zero_points=self.config.zero_points == "move")


def _note(context: Context, search: _Search, units: list[Unit], batches: list[Tensor]) -> None:
    config = search.config
    context.notes.update(
        {
            "units": len(units),
            "mutation_range": search.mutation,
            "loss_start": search.start,
            "loss_end": search.current,
            "units_improved": search.improved,
            "evaluations": search.objective.evaluations,
            "naive_forward_passes": config.passes * len(units) * (config.population + config.cycles),
            "images_used": sum(len(batch) for batch in batches),
        }
    )
