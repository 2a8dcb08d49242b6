"""Mixed precision as a step of a stack: a width for every site under a budget, for the scheme that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.engines.allocation import Allocation, Choice, evolve, greedy, solve
from harness.engines.held_out import parted
from harness.engines.mixed import Judged, empty_span, problem_of, spending, widths_of
from harness.engines.scheme_trials import SchemeTrials, is_ruled
from harness.engines.sensitivity import Sensitivity
from harness.errors import IncompatibleError, Problem
from harness.graph.sites import Place
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.widths import map_of, present_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL, Bits


@dataclass(frozen=True)
class AllocateConfig:
    """Settings of ``allocate``."""

    budget: Annotated[
        float,
        Field(
            gt=0,
            description="what may be spent: bits per weight (weights), MB of the stored model (size), billions of "
            "bit-operations per image (bitops), or a number of sites that stay in full precision (sites)",
        ),
    ] = 4.5
    of: Annotated[
        Literal["weights", "size", "bitops", "sites"],
        Field(
            description="what the budget is of; weights and size choose for weights, bitops for all operands of products, "
            "sites between the trial's width and full precision"
        ),
    ] = "weights"
    sensitivity: Annotated[
        Literal["sqnr", "fisher", "hessian"],
        Field(
            description="what a width of a site costs: error of the logits when only this site is quantized, empirical "
            "Fisher information of its error, or mean diagonal of the Hessian times its squared error (HAWQ-V2)"
        ),
    ] = "sqnr"
    solver: Annotated[
        Literal["milp", "greedy", "evolution"],
        Field(
            description="least sum of costs (scipy's milp), step by step the most cost saved for what it spends, or from "
            "there a search judged by the network itself"
        ),
    ] = "milp"
    lowest: Annotated[int, Field(ge=2, le=8, description="narrowest width in bits")] = 2
    highest: Annotated[int, Field(ge=2, le=8, description="widest width in bits")] = 8
    held_out: Annotated[float, Field(gt=0, lt=1, description="share of the calibration images that judges")] = 0.25
    images: Annotated[int, Field(ge=1, description="most of them that judge")] = 32
    rounds: Annotated[int, Field(ge=1, description="evolution: how often the best has children")] = 10
    children: Annotated[int, Field(ge=1, description="evolution: children each time")] = 4

    def contradictions(self) -> list[Problem]:
        """Widths that leave none to choose."""
        return empty_span(self.lowest, self.highest)


@register(
    "allocate",
    role=Role.ALLOCATE,
    version=3,
    paper="Yao et al., HAWQ-V3: Dyadic Neural Network Quantization, ICML 2021; Wang et al., HAQ: Hardware-Aware Automated "
    "Quantization with Mixed Precision, CVPR 2019",
)
class Allocate(Method[AllocateConfig]):
    """Choose a width for every site under a budget; the scheme after it is tried at each width."""

    Config = AllocateConfig
    quick: ClassVar[Mapping[str, Any]] = {"sensitivity": "fisher", "lowest": 4, "images": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Measure what widths cost, solve, and leave the map of widths behind; no quantizer stays."""
        if context.bits.full_precision:
            return
        work = _Work(model, calibration, self.config, context)
        problem = work.problem()
        choice = work.solved(problem)
        work.trials.reset()
        model.widths.update(work.widths_of(problem, choice))
        context.notes.update(work.notes, bit_map=map_of(model, context.bits))


class _Work:
    """One allocation."""

    def __init__(self, model: QuantizedModel, calibration: CalibrationSet, config: AllocateConfig, context: Context) -> None:
        self.model = model
        self.config = config
        self.context = context
        fitted, held = parted(calibration.images, config.held_out)
        if not len(held):
            raise IncompatibleError(
                f"allocate holds a share of the calibration images out, and {len(calibration)} are too few for that",
                "use more calibration images, or a larger held_out=",
            )
        self.held = held[: config.images]
        self.trials = SchemeTrials(model, CalibrationSet(fitted), context, "allocate")
        self._generator = context.generator("allocate hessian")
        self.notes: dict[str, Any] = {"images_fitted": len(fitted), "images_judging": len(self.held)}

    @property
    def widths(self) -> tuple[int, ...]:
        """Possible widths."""
        if self.config.of == "sites":
            return (min(self.context.bits.weight, self.context.bits.activation), FULL)
        return tuple(range(self.config.lowest, self.config.highest + 1))

    def problem(self) -> Allocation:
        """What each width costs and spends, with the scheme applied at each."""
        costs: dict[int, dict[str, float]] = {}
        names: list[str] = []
        for width in (width for width in self.widths if width != FULL):
            self.trials.apply(self._uniform(width))
            names = names or self._sites(width)
            judged = Judged(self.model, self.held, self.context.budget, self.context.progress, self._signs)
            costs[width] = judged.costs(names, self.config.sensitivity)
        costs[FULL] = {}
        spent = spending(self.model, names, self.widths, self.config.of)
        return problem_of(names, self.widths, costs, spent, self.config.budget)

    def solved(self, problem: Allocation) -> Choice:
        """The choice of the solver."""
        if self.config.solver == "evolution":
            return self._evolved(problem)
        choice = solve(problem) if self.config.solver == "milp" else greedy(problem)
        self._note(problem, choice)
        return choice

    def widths_of(self, problem: Allocation, choice: Choice) -> dict[str, int]:
        """The chosen widths; of=sites leaves the others what the trial says."""
        found = widths_of(problem, choice)
        return {name: width for name, width in found.items() if width == FULL or self.config.of != "sites"}

    def _evolved(self, problem: Allocation) -> Choice:
        generator = self.context.generator("allocate")
        with self.context.progress.task("evolution", self.config.rounds * self.config.children + 1) as task:

            def fitness(choice: Choice) -> float:
                self.trials.reset()
                self.model.widths.update(self.widths_of(problem, choice))
                self.trials.apply(present_bits(self.model, self.context.bits))
                task.advance()
                return Sensitivity(self.model, self.held, self.context.budget).whole(dict(self.model.quantizers)).sqnr_db

            def draw(count: int) -> int:
                return int(torch.randint(count, (1,), generator=generator))

            choice, curve = evolve(problem, greedy(problem), fitness, draw, self.config.rounds, self.config.children)
        self._note(problem, choice)
        self.notes["held_out_sqnr_db"] = curve
        return choice

    def _note(self, problem: Allocation, choice: Choice) -> None:
        widths = list(widths_of(problem, choice).values())
        self.notes |= {
            "sites": len(choice),
            "cost": problem.cost_of(choice),
            "spent": problem.spent_by(choice) + problem.fixed,
            "widths": {str(width): widths.count(width) for width in sorted(set(widths))},
        }

    def _uniform(self, width: int) -> Bits:
        """The trial's widths with this one for what is chosen, unless a rule of the trial names the site."""
        bits = self.context.bits
        if self.config.of == "sites":
            return bits
        activation = width if self.config.of == "bitops" else bits.activation
        attention = None if self.config.of == "bitops" else bits.attention
        return Bits(width, activation, attention, bits.rules)

    def _sites(self, width: int) -> list[str]:
        """The sites to choose for: those that the scheme quantizes at the asked width and no rule of the trial names.

        A site with another width than the asked one has its own (the image has at least 8 bits): what it costs at others is
        not known.
        """
        model, of = self.model, self.config.of
        free = [
            name for name in model.sites if name in model.quantizers and not is_ruled(self.context.bits, model.sites[name])
        ]
        if of != "sites":
            free = [name for name in free if model.quantizers[name].bits == width]
        if of in ("weights", "size"):
            free = [name for name in free if model.sites[name].place is Place.PARAMETER]
        if of == "bitops":
            operands = (sites for segment in model.segments for cost in segment.costs for sites in cost.operands)
            read = {next((site for site in sites if site in model.quantizers), "") for sites in operands}
            free = [name for name in free if name in read]
        if not free:
            raise IncompatibleError(f"allocate(of={of}) finds no site to choose a width for", "use a quantizing scheme")
        return free

    def _signs(self, x: Tensor) -> Tensor:
        drawn = torch.randint(0, 2, x.shape, generator=self._generator)
        return (drawn * 2 - 1).to(x.device, x.dtype)
