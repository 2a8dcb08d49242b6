"""Evol-Q: evolutionary search over quantization scales (Frumkin et al., ICCV 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines import losses
from harness.engines.evolution import Evolution, Mutation, Tournament
from harness.engines.held_out import BestScales, Judge, below_floor, parted
from harness.engines.scale_search import Objective, Unit, batches_of, units_of
from harness.machine.progress import Task
from harness.method.base import Context, Method, Protocol
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

# Half-width of the mutation by weight width. The paper's table and the released code are swapped (METHODS facts).
MUTATION_PAPER = {8: 1e-3}
MUTATION_RELEASE = {8: 1e-4}
MUTATION_OTHER = {"paper": 1e-4, "release": 1e-3}
RESUMED = ("current", "improved", "refused")  # what an interrupted search needs of its evolution
BEST = "best/"
RELEASE_NARROW = "attn_downsample"  # LeViT's subsampling attention, where the release reads an activation's width


@dataclass(frozen=True)
class EvolqConfig:
    """Settings of ``evolq``; every difference between the paper and the released code is one of them.

    Without a preset it is the released search with two changes: the result is chosen on held-out calibration images instead
    of evaluation images, and the target is full precision.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"scope": "block", "clip": "epsilon", "selection": "fitness"},
        "release": {
            "order": "reverse",
            "drop_incomplete": True,
            "target": "release",
            "held_out": 0.0,
            "selection": "evaluation",
            "first_pass": "overwrite",
            "levit_range": "release",
        },
    }

    preset: Annotated[
        Literal["none", "paper", "release"],
        Field(
            description="fill the settings not given: paper, its procedure on the released loss and ranges (the printed "
            "ones are formula=paper, mutation=paper); release, the released code in full"
        ),
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
    relative: Annotated[bool, Field(description="noise is a share of each scale (share) instead of an absolute e")] = False
    share: Annotated[float, Field(gt=0, lt=1, description="relative=true: half-width as a share of each scale")] = 0.05
    levit_range: Annotated[
        Literal["weights", "release"],
        Field(description="e in LeViT's subsampling attention by the weights' width, or by that of activations (release)"),
    ] = "weights"
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
    loss: Annotated[Literal["infonce", "mse", "cosine", "kl", "fisher"], Field(description="distance between logits")] = (
        "infonce"
    )
    formula: Annotated[
        Literal["release", "paper"],
        Field(
            description="infonce: of L2-normalised logits (release), or of their inner products as printed (paper), which "
            "leads away from full precision"
        ),
    ] = "release"
    temperature: Annotated[float, Field(gt=0, description="infonce: divides the similarities; the paper gives none")] = 3.0
    stop_at_floor: Annotated[
        bool,
        Field(description="refuse children below the loss of full precision against itself, and end the search there"),
    ] = False
    batch: Annotated[int, Field(ge=2, description="calibration images per batch; negatives come from the same batch")] = 100
    drop_incomplete: Annotated[bool, Field(description="leave out an incomplete last batch")] = False
    target: Annotated[
        Literal["true_fp", "release"],
        Field(description="logits to match: full precision, or with integer operators left on (release)"),
    ] = "true_fp"
    held_out: Annotated[
        float,
        Field(ge=0, lt=1, description="share of the calibration images that is not searched on, but judges the search"),
    ] = 0.25
    selection: Annotated[
        Literal["held_out", "fitness", "evaluation"],
        Field(
            description="final choice: logit SQNR on held-out calibration images after each unit (the start included), the "
            "last state of the search, or best top-1 on the EVALUATION images after each unit (a leak)"
        ),
    ] = "held_out"
    first_pass: Annotated[
        Literal["best", "overwrite"],
        Field(description="selection=evaluation in pass 1: the best state so far, or always the newest (release)"),
    ] = "best"


@register(
    "evolq",
    role=Role.REFINE,
    needs=("scales",),
    version=2,  # 2: floor, held-out images, even batches, one base scale per power-of-two tensor
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
        search = _Search(model, calibration, units, config, context)
        with context.progress.task("evolq", config.passes * len(units) * config.cycles) as task:
            search.run(task)
        context.notes.update(search.notes())


class _Search:
    """One run of the search."""

    def __init__(
        self, model: QuantizedModel, calibration: CalibrationSet, units: list[Unit], config: EvolqConfig, context: Context
    ) -> None:
        self.model = model
        self.units = units
        self.config = config
        self.context = context
        self.done = 0
        searched, held = parted(calibration.images, config.held_out)
        self.objective = self._objective(searched, 0)
        self.judge = Judge(self._objective(held, len(searched)) if len(held) else None)
        self.best = BestScales(model, units)
        self.evolution = Evolution(
            self.objective,
            Tournament(config.population, config.cycles, config.samples),
            mutation_of(config, units[0], self.bits_of(units[0])),
            context.generator("evolq"),
            self.objective.floor if config.stop_at_floor else -math.inf,
        )

    def _objective(self, images: Tensor, offset: int) -> Objective:
        config = self.config
        loss = losses.named(config.loss, temperature=config.temperature, normalise=config.formula == "release")
        batches = batches_of(images, config.batch, drop_incomplete=config.drop_incomplete)
        return Objective(self.model, batches, loss, config.target, self.context, offset)

    def run(self, task: Task) -> None:
        """All passes over all units, from the last finished one when an earlier run was interrupted."""
        self.resume()
        task.advance(self.done * self.config.cycles)
        if not self.done:
            self.evolution.current = self.objective.first_value(self.units[0].segment)
            self.judge.judge(self.units[0].segment)
            self.select()
            self.judge.draw(self.evolution.current)
        while self.done < self.runs and not self.evolution.refused:
            self.step(self.units[self.done % len(self.units)], task)
            self.keep()
        if self.config.selection != "fitness":
            self.best.restore()

    def bits_of(self, unit: Unit) -> Bits:
        """The widths of a unit: those of its first site, where a trial's widths differ."""
        return self.context.bits.at(self.model.sites[unit.sites[0]])

    @property
    def runs(self) -> int:
        """Units to improve, counted once per pass."""
        return self.config.passes * len(self.units)

    def step(self, unit: Unit, task: Task) -> None:
        """Improve one unit and look at what came out."""
        self.evolution.mutation = mutation_of(self.config, unit, self.bits_of(unit))
        if self.evolution.improve(unit, task.advance):
            self.judge.judge(unit.segment)
        task.update(f"loss {self.evolution.current:.5f}")
        self.done += 1
        self.select()
        if self.done % len(self.units) == 0 or self.evolution.refused:
            self.judge.draw(self.evolution.current)

    def select(self) -> None:
        """Remember the scales that do best on held-out images; or on the evaluation images, the released code's leak."""
        config, loss = self.config, self.evolution.current
        if config.selection == "held_out":
            self.best.offer(self.judge.merit(loss), loss)
        elif config.selection == "evaluation" and self.context.evaluate is not None and self.done:
            first = config.first_pass == "overwrite" and self.done <= len(self.units)
            self.best.offer(self.context.evaluate(), loss, always=first)

    def keep(self) -> None:
        """Let an interrupted search go on after this unit."""
        evolution = self.evolution
        facts = {"done": self.done, "best": self.best.facts(), "judge": self.judge.facts()}
        facts |= {name: getattr(evolution, name) for name in RESUMED} | {"evaluations": self.objective.evaluations}
        tensors = {BEST + name: tensor for name, tensor in self.best.tensors().items()}
        self.context.checkpoint.block_done(self.model, facts, {**tensors, "generator": evolution.generator.get_state()})

    def resume(self) -> None:
        """Go back to the state of an interrupted search, if there is one."""
        kept = self.context.checkpoint.resume(self.model)
        if kept is None:
            return
        facts, tensors = kept
        self.evolution.generator.set_state(tensors.pop("generator"))
        for name in RESUMED:
            setattr(self.evolution, name, facts[name])
        self.best.resume(facts["best"], {name.removeprefix(BEST): tensor for name, tensor in tensors.items()})
        self.judge.resume(facts["judge"])
        self.done, self.objective.evaluations = facts["done"], facts["evaluations"]
        self.objective.changed(0)

    def notes(self) -> dict[str, Any]:
        """What the search did, for the record."""
        config, evolution = self.config, self.evolution
        notes: dict[str, Any] = {
            "units": len(self.units),
            "mutation_range": evolution.mutation.half_width,
            "loss_start": self.judge.curves["loss"][0],
            "loss_end": evolution.current,
            "loss_floor": self.objective.floor,
            "units_improved": evolution.improved,
            "evaluations": self.objective.evaluations,
            "held_out_evaluations": self.judge.evaluations,
            "naive_forward_passes": self.runs * (config.population + config.cycles),
            "release_forward_passes": self.runs * (1 + config.cycles),
            "images_used": sum(map(len, self.objective.targets)),
            "images_held_out": self.judge.images,
            "curves": self.judge.curves,
        }
        if config.selection != "fitness" and self.best.facts():
            criterion = "selected_top1" if config.selection == "evaluation" else "selected_merit"
            notes |= {criterion: self.best.value, "loss_selected": self.best.loss}
        if self.done < self.runs:
            notes["stopped_after_units"] = self.done
        warning = below_floor(evolution.current, self.objective.floor)
        return notes | ({"warning": warning} if warning else {})


def mutation_of(config: EvolqConfig, unit: Unit, bits: Bits) -> Mutation:
    """How children of a unit differ from their parents."""
    mirrored, move = config.clip == "abs", config.zero_points == "move"
    if config.relative:
        return Mutation(config.share, True, mirrored, move)
    if config.mutation == "fixed":
        return Mutation(config.mutation_range, False, mirrored, move)
    narrow = config.levit_range == "release" and RELEASE_NARROW in unit.name
    width = bits.activation if narrow else bits.weight
    table = MUTATION_PAPER if config.mutation == "paper" else MUTATION_RELEASE
    return Mutation(table.get(width, MUTATION_OTHER[config.mutation]), False, mirrored, move)
