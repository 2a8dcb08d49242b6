"""PTQ-for-ViT's mixed precision: a width for each attention module and MLP, by nuclear norms (Liu et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.segment_operations import Operation, is_scores, observe
from harness.data.sets import CalibrationSet
from harness.engines.allocation import solve
from harness.engines.layerwise import Visit, walk
from harness.engines.mixed import empty_span, problem_of, widths_of
from harness.engines.scheme_trials import SchemeTrials, is_ruled
from harness.engines.sensitivity import holding, uncorrected
from harness.errors import IncompatibleError, Problem
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.method.widths import map_of
from harness.quant.network.chain import ProductCost
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL, Bits

ATTENTION, MLP = "attention", "mlp"
Modules = dict[tuple[int, str], list[str]]  # (index of a segment, kind): sites


@dataclass(frozen=True)
class NuclearConfig:
    """Settings of ``nuclear``."""

    budget: Annotated[float, Field(gt=0, description="mean bits of a weight of the whole network")] = 6.0
    lowest: Annotated[int, Field(ge=2, le=8, description="narrowest width in bits; the paper has 4 for a budget of 6")] = 4
    highest: Annotated[int, Field(ge=2, le=8, description="widest width in bits; the paper has 8 for a budget of 6")] = 8
    images: Annotated[int, Field(ge=1, description="calibration images that sensitivities are measured on (ours)")] = 32

    def contradictions(self) -> list[Problem]:
        """Widths that leave none to choose."""
        return empty_span(self.lowest, self.highest)


@register(
    "nuclear",
    role=Role.ALLOCATE,
    paper="Liu et al., Post-Training Quantization for Vision Transformer, NeurIPS 2021",
)
class Nuclear(Method[NuclearConfig]):
    """One width for all that products of an attention module or MLP read: least nuclear norms times squared errors."""

    Config = NuclearConfig
    quick: ClassVar[Mapping[str, Any]] = {"images": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Try the scheme at every width, choose, and leave the map of widths behind; no quantizer stays.

        Raises:
            IncompatibleError: No block has products whose width can be chosen, or no choice keeps the budget.
        """
        if context.bits.full_precision:
            return
        c = self.config
        trials = SchemeTrials(model, calibration, context, "nuclear")
        costs: dict[int, dict[str, float]] = {}
        norms: dict[str, float] = {}
        for width in range(c.lowest, c.highest + 1):
            trials.apply(Bits(width, width, None, context.bits.rules))
            modules = modules_of(model, context.bits, width)
            costs[width] = self._measured(model, modules, norms, calibration, context)
        names = {name_of(model, key): sites for key, sites in modules.items()}
        spending = _weights(model, names, tuple(costs), context.bits)
        problem = problem_of(list(names), tuple(costs), costs, spending, c.budget)
        choice = solve(problem)
        trials.reset()
        chosen = widths_of(problem, choice)
        model.widths.update({site: chosen[name] for name, sites in names.items() for site in sites})
        spent = problem.spent_by(choice) + problem.fixed
        context.notes.update(
            module_widths=chosen, cost=problem.cost_of(choice), spent=spent, bit_map=map_of(model, context.bits)
        )

    def _measured(
        self,
        model: QuantizedModel,
        modules: Modules,
        norms: dict[str, float],
        calibration: CalibrationSet,
        context: Context,
    ) -> dict[str, float]:
        """What the present width costs each module."""
        if not modules:
            raise IncompatibleError("nuclear finds no block with products whose width it could choose", "use allocate(...)")
        images, found = first_images(calibration, self.config.images, context), dict[str, float]()
        with context.progress.task("nuclear norms", len(model.segments)) as task:
            for visit in task.track(walk(model, images, context, batch=len(images), full=True, quantized=False)):
                found |= _sensitivities(visit, modules, norms, context)
        return found


def name_of(model: QuantizedModel, key: tuple[int, str]) -> str:
    """How a module is called in the record: the block's path and what of it."""
    return f"{model.segments[key[0]].name} {key[1]}"


def modules_of(model: QuantizedModel, bits: Bits, width: int) -> Modules:
    """By block, the sites that products of its attention and of the rest, its MLP, read.

    Args:
        model: With the quantizers of a scheme at one width.
        bits: The trial's; sites that its rules name are left out.
        width: Sites with another one have their own, and are left out.
    """
    found: Modules = {}
    taken: set[str] = set()
    for index, segment in enumerate(model.segments):
        for cost in segment.costs if segment.is_block else ():
            for sites in cost.operands:
                name = next((site for site in sites if site in model.quantizers), "")
                if not name or name in taken or model.quantizers[name].bits != width or is_ruled(bits, model.sites[name]):
                    continue
                taken.add(name)
                found.setdefault((index, _kind(model, cost)), []).append(name)
    return found


def _kind(model: QuantizedModel, cost: ProductCost) -> str:
    """Whether a product belongs to attention: by its weight, or without one by its left operand."""
    operation = model.chain.products[cost.node]
    site = operation.site if isinstance(operation, WeightedOperation) else model.sites[operation.left.name]
    return ATTENTION if site.attention else MLP


@torch.no_grad()
def _sensitivities(visit: Visit, modules: Modules, norms: dict[str, float], context: Context) -> dict[str, float]:
    """Of a block's modules: the nuclear norm of what they give times its squared error when only they are quantized.

    Args:
        visit: A block in the full-precision network.
        modules: The sites of each module.
        norms: Nuclear norms by module; those of this block are added where they are missing: no width changes them.
        context: The step's context.
    """
    found: dict[str, float] = {}
    model, (x,), here = visit.model, visit.full, visit.index
    for kind in (ATTENTION, MLP):
        sites = modules.get((here, kind))
        if not sites:
            continue
        name, judged = name_of(model, (here, kind)), {kind: _judged(visit, kind)}
        want = observe(judged, lambda: model.run_full_precision(x, here, here + 1), context.budget)[kind][-1]
        with uncorrected(model), holding(model, {site: model.quantizers[site] for site in sites}):
            got = observe(judged, lambda: model.run(x, here, here + 1), context.budget)[kind][-1]
        if name not in norms:
            norms[name] = nuclear_norm(want)
        found[name] = sensitivity(norms[name], want, got)
    return found


def _judged(visit: Visit, kind: str) -> Operation:
    """The one operation whose output is looked at: attention's scores, or the last operation of the MLP."""
    model = visit.model
    own = [model.chain.products[cost.node] for cost in visit.segment.costs if _kind(model, cost) == kind]
    return ([one for one in own if is_scores(model, one)] or own)[-1]


def nuclear_norm(want: Tensor) -> float:
    """Sum of singular values, the mean over images; those of several matrices add up.

    Args:
        want: What a module gives in full precision, ``(images, ..., rows, columns)``.
    """
    matrices = want.double() if want.ndim > 2 else want.double()[:, None]
    return float(torch.linalg.matrix_norm(matrices, "nuc").sum() / len(want))


def sensitivity(norm: float, want: Tensor, got: Tensor) -> float:
    """Nuclear norm times squared error, the mean over images (Eq. 18).

    Args:
        norm: Of what the module gives in full precision.
        want: That, with the images in front.
        got: The same with the module quantized.
    """
    return norm * float((got.double() - want.double()).square().sum() / len(want))


def _weights(
    model: QuantizedModel, names: dict[str, list[str]], widths: tuple[int, ...], bits: Bits
) -> tuple[Tensor, list[tuple[int, int, float]], float]:
    """Bits of weights as a share of their number: of each module at each width, and of the others at the trial's."""
    count = sum(model.sites[name].elements for name in model.weights)
    own = [sum(model.sites[site].elements for site in sites if site in model.weights) / count for sites in names.values()]
    inside = {site for sites in names.values() for site in sites}
    fixed = sum(
        model.sites[name].elements * (bits.at(model.sites[name]).weight if name in model.quantizers else FULL)
        for name in model.weights
        if name not in inside
    )
    table = torch.tensor(own, dtype=torch.float64)[:, None] * torch.tensor(widths, dtype=torch.float64)
    return table, [], fixed / count
