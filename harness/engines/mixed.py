"""Mixed precision: from sensitivities and a budget to a width for every site, judged without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.engines.allocation import Allocation, Choice
from harness.engines.fisher import error_of, fisher, traces
from harness.engines.sensitivity import Sensitivity, holding
from harness.errors import Problem
from harness.graph.sites import Place
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.quant.format.base import NumberFormat
from harness.quant.network.inventory import size_bytes
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL

SENSITIVITIES = ("sqnr", "fisher", "hessian")
MEGA, GIGA = 1e6, 1e9
Probe = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Judged:
    """The network as a scheme left it at one width, and the images to judge it on.

    Attributes:
        model: The network; another width has other quantizers, and other transforms.
        images: ``(n, c, h, w)``, held out from the scheme.
        budget: Holds segment inputs.
        progress: Display.
        probe: Random signs like a tensor, for the Hessian.
    """

    model: QuantizedModel
    images: Tensor
    budget: Budget
    progress: Progress
    probe: Probe

    def costs(self, names: list[str], sensitivity: str) -> dict[str, float]:
        """What the present quantizer of each site costs; sites without one cost nothing."""
        formats = {name: [self.model.quantizers[name]] for name in names if name in self.model.quantizers}
        if sensitivity == "sqnr":
            with self.progress.task("each site alone", len(formats)) as task:
                return _first(Sensitivity(self.model, self.images, self.budget).candidates(formats, task))
        if sensitivity == "fisher":
            with self.progress.task("Fisher information", len(self.images)) as task:
                return _first(fisher(self.model, self.images, formats, task))
        with self.progress.task("Hessian", len(self.images)) as task:
            curvature = _positive(traces(self.model, self.images, formats, self.probe, task))
        errors = self._squared_errors(_only(formats))
        return {name: curvature[name] * errors[name] / 2 for name in formats}

    @torch.no_grad()
    def _squared_errors(self, formats: dict[str, NumberFormat]) -> dict[str, float]:
        """Squared error of the values of each site, mean over images."""
        found: dict[str, float] = {}

        def watch(name: str, x: Tensor) -> None:
            if name in formats:
                # The first axis need not be that of the images: windows of attention are many of one image.
                shared = self.model.sites[name].place is Place.CONSTANT
                images = 1 if shared else len(self.images)
                found[name] = float(error_of(self.model, name, formats[name], x).double().square().sum()) / images

        with holding(self.model, {}):
            self.model.observe(self.images, watch)
        for name in formats:
            if self.model.sites[name].place is Place.PARAMETER:
                weight = self.model.weights[name].present_weight
                found[name] = float(error_of(self.model, name, formats[name], weight).double().square().sum())
        return found


def _positive(traces: dict[str, float]) -> dict[str, float]:
    """Estimates that are not above zero become the smallest that is: a wider code must still be worth something."""
    least = min((one for one in traces.values() if one > 0), default=1.0)
    return {name: max(one, least) for name, one in traces.items()}


def _first(found: dict[str, list[float]]) -> dict[str, float]:
    return {name: values[0] for name, values in found.items()}


def _only(formats: dict[str, list[NumberFormat]]) -> dict[str, NumberFormat]:
    return {name: one for name, (one,) in formats.items()}


def empty_span(lowest: int, highest: int) -> list[Problem]:
    """What is wrong with the widths to choose between: that there are none."""
    if lowest <= highest:
        return []
    text = f"lowest={lowest} is above highest={highest}, which leaves no width to choose"
    return [Problem(text, "use a lowest of at most highest")]


def spending(
    model: QuantizedModel, names: list[str], widths: tuple[int, ...], of: str
) -> tuple[Tensor, list[tuple[int, int, float]], float]:
    """What each width of each site spends, pairs of sites that spend by the product of their widths, and what is fixed.

    Args:
        model: With the quantizers of a scheme; sites outside ``names`` keep the widths they have.
        names: The sites to choose for.
        widths: Possible widths.
        of: ``weights``: bits of all weights together, also of those outside ``names``, as a share of their number. ``size``:
            megabytes of the stored model. ``bitops``: billions of bit-operations per image. ``sites``: sites with more than
            the narrowest width.
    """
    bits = torch.tensor(widths, dtype=torch.float64)
    if of == "sites":
        return (bits > bits[0]).double().repeat(len(names), 1), [], 0.0
    if of == "bitops":
        return _work(model, names, bits)
    elements = torch.tensor([model.sites[name].elements for name in names], dtype=torch.float64)
    if of == "weights":
        count = sum(model.sites[name].elements for name in model.weights)
        return elements[:, None] * bits / count, [], _bits_of(model, set(model.weights) - set(names)) / count
    own = elements[:, None] * bits / 8 / MEGA
    return own, [], size_bytes(model) / MEGA - _bits_of(model, names) / 8 / MEGA


def _bits_of(model: QuantizedModel, names: Iterable[str]) -> float:
    """Bits of some weights together, as they are quantized now."""
    now = {name: model.quantizers[name].bits if name in model.quantizers else FULL for name in names}
    return float(sum(model.sites[name].elements * width for name, width in now.items()))


def _work(model: QuantizedModel, names: list[str], bits: Tensor) -> tuple[Tensor, list[tuple[int, int, float]], float]:
    own = torch.zeros(len(names), len(bits), dtype=torch.float64)
    at = {name: number for number, name in enumerate(names)}
    pairs: list[tuple[int, int, float]] = []
    fixed = 0.0
    for cost in (cost for segment in model.segments for cost in segment.costs):
        rate = cost.macs / GIGA
        left, right = (next((site for site in sites if site in model.quantizers), "") for sites in cost.operands)
        widths = [float(model.quantizers[site].bits) if site else float(FULL) for site in (left, right)]
        if left in at and right in at and left != right:
            pairs.append((at[left], at[right], rate))
        elif left in at and left == right:
            own[at[left]] += rate * bits.square()
        elif left in at or right in at:
            chosen, other = (left, widths[1]) if left in at else (right, widths[0])
            own[at[chosen]] += rate * other * bits
        else:
            fixed += rate * widths[0] * widths[1]
    return own, pairs, fixed


def problem_of(
    names: list[str],
    widths: tuple[int, ...],
    costs: dict[int, dict[str, float]],
    spent: tuple[Tensor, list[tuple[int, int, float]], float],
    budget: float,
) -> Allocation:
    """The problem whose solution is the map of widths.

    A wider code never costs more than a narrower one: measured costs of errors far below all others are noise.

    Args:
        names: The sites.
        widths: Possible widths, the narrowest first.
        costs: By width, then site.
        spent: What ``spending`` says.
        budget: In the same unit.
    """
    own, pairs, fixed = spent
    table = torch.tensor([[costs[width].get(name, 0.0) for width in widths] for name in names], dtype=torch.float64)
    falling = table.cummin(dim=1).values
    return Allocation(tuple(names), widths, falling.numpy(), own.numpy(), tuple(pairs), budget - fixed, fixed)


def widths_of(problem: Allocation, choice: Choice) -> dict[str, int]:
    """The chosen width of each site."""
    return {name: problem.widths[index] for name, index in zip(problem.sites, choice, strict=True)}
