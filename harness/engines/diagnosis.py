"""A diagnosis of a quantized network: what each quantizer costs, where errors add up, and why the worst ones are bad."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from harness.engines.fisher import fisher
from harness.engines.reasons import SiteFacts, facts_of
from harness.engines.sensitivity import BlockNoise, Distance, Sensitivity, holding
from harness.errors import IncompatibleError
from harness.graph.sites import Place
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.quant.network.inventory import classes_of
from harness.quant.network.qmodel import QuantizedModel

CLEAR_DB = 0.5  # dB that a class must give back, more than the next one, to be called the problem


@dataclass(frozen=True)
class SiteCost:
    """What the quantizer of one site costs.

    Attributes:
        site: Its name.
        tensors: Its class, as in coverage tables.
        segment: Name of the segment.
        bits: Its width.
        only: Logits when no other quantizer acts.
        without: Logits when all others act.
        gain_db: What leaving it out gives, in dB of the logits' ratio of signal to error.
        fisher: What its error costs of the log-likelihood, by the empirical Fisher information.
    """

    site: str
    tensors: str
    segment: str
    bits: int
    only: Distance
    without: Distance
    gain_db: float
    fisher: float


@dataclass(frozen=True)
class ClassCost:
    """What all quantizers of one tensor class cost together; as ``SiteCost``."""

    tensors: str
    sites: int
    only: Distance
    without: Distance
    gain_db: float


@dataclass(frozen=True)
class Diagnosis:
    """All of it.

    Attributes:
        images: Held-out images that it rests on.
        whole: The network with all quantizers.
        sites: In execution order.
        classes: Those whose leaving out gives most first.
        blocks: Error after each segment.
        worst: Facts of the sites that cost most alone, and of those whose leaving out gives most, by turns.
        forward_passes: What the measurement cost, by what was measured, in passes of the held-out images.
    """

    images: int
    whole: Distance
    sites: list[SiteCost]
    classes: list[ClassCost]
    blocks: list[BlockNoise]
    worst: dict[str, SiteFacts]
    forward_passes: dict[str, float]

    def verdict(self) -> str:
        """Which tensor class is the problem, in one sentence."""
        first, *others = self.classes
        second = others[0] if others else None
        before, after = f"{self.whole.agreement:.1f}", f"{first.without.agreement:.1f}"
        agreement = f"stays at {after}" if before == after else f"goes from {before} to {after}"
        change = (
            f"without their {first.sites} quantizers agreement on {self.images} images {agreement} % "
            f"and SQNR goes from {self.whole.sqnr_db:.1f} to {first.without.sqnr_db:.1f} dB"
        )
        if first.gain_db < CLEAR_DB:
            best = f"leaving one out gives {first.gain_db:+.1f} dB at best ({first.tensors})"
            return f"no class of tensors is the problem: {best}"
        if second is not None and first.gain_db - second.gain_db < CLEAR_DB:
            return f"no class of tensors stands out; of {first.tensors}: {change}"
        rest = f"; of no other class by more than {second.gain_db:+.1f} dB ({second.tensors})" if second else ""
        return f"the problem is {first.tensors}: {change}{rest}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, the verdict and the words of the reasons among them."""
        facts = {name: {**asdict(one), "words": one.words} for name, one in self.worst.items()}
        return {"verdict": self.verdict(), **asdict(self), "worst": facts}


class _Passes:
    """Counts forward passes by what they were for."""

    def __init__(self, model: QuantizedModel, images: int) -> None:
        self._model = model
        self._images = images
        self.spent: dict[str, float] = {}

    def of(self, name: str, measure: Callable[[], Any]) -> Any:
        before = self._model.image_forwards
        found = measure()
        self.spent[name] = round((self._model.image_forwards - before) / self._images, 2)
        return found


def diagnose(model: QuantizedModel, images: Tensor, budget: Budget, progress: Progress, worst: int = 8) -> Diagnosis:
    """Measure a quantized network.

    Args:
        model: The network, with the quantizers of its stack.
        images: Held-out calibration images ``(n, c, h, w)``.
        budget: Holds segment inputs.
        progress: Display.
        worst: Number of sites whose reasons are looked for.

    Raises:
        IncompatibleError: The network has no quantizers of ours.
    """
    if model.external is not None or not model.quantizers:
        why = f"{model.external.library} quantized it as a whole" if model.external else "nothing of it is quantized"
        raise IncompatibleError(f"{model.name} cannot be diagnosed site by site: {why}", "use a scheme such as fqvit")
    passes, count = _Passes(model, len(images)), len(model.quantizers)
    measure = passes.of("targets", lambda: Sensitivity(model, images, budget))
    whole = passes.of("whole", lambda: measure.whole(measure.formats))
    with progress.task("each site alone", count) as task:
        alone = passes.of("leave_one_in", lambda: measure.leave_one_in(task))
    with progress.task("all but each site", count) as task:
        without = passes.of("leave_one_out", lambda: measure.leave_one_out(task))
    with progress.task("Fisher information", len(images)) as task:
        formats = {name: [one] for name, one in measure.formats.items()}
        information = passes.of("fisher", lambda: fisher(model, images, formats, task))
    labels = classes_of(model, measure.formats)
    sites = [
        SiteCost(
            name,
            labels[name],
            model.segments[model.segment_of(name)].name,
            measure.formats[name].bits,
            alone[name],
            without[name],
            without[name].sqnr_db - whole.sqnr_db,
            information[name][0],
        )
        for name in alone
    ]
    classes = passes.of("classes", lambda: _classes(measure, labels, whole))
    blocks = passes.of("blocks", measure.accumulation)
    chosen = _worst(sites, worst)
    facts = passes.of("reasons", lambda: _facts(model, images, chosen))
    return Diagnosis(len(images), whole, sites, classes, blocks, facts, passes.spent)


def _worst(sites: list[SiteCost], count: int) -> list[str]:
    """By turns the site that costs most alone and the one whose leaving out gives most.

    In a network that many quantizers harm, leaving out one of them gives little.
    """
    orders = (sorted(sites, key=lambda one: one.only.sqnr_db), sorted(sites, key=lambda one: -one.gain_db))
    turns = (one.site for pair in zip(*orders, strict=True) for one in pair)
    return list(dict.fromkeys(turns))[:count]


def _classes(measure: Sensitivity, labels: dict[str, str], whole: Distance) -> list[ClassCost]:
    groups: dict[str, list[str]] = {}
    for name, label in labels.items():
        groups.setdefault(label, []).append(name)
    found = []
    for label, names in groups.items():
        without = measure.group_out(names)
        gain = without.sqnr_db - whole.sqnr_db
        found.append(ClassCost(label, len(names), measure.group_in(names), without, gain))
    return sorted(found, key=lambda one: -one.gain_db)


def _facts(model: QuantizedModel, images: Tensor, names: Iterable[str]) -> dict[str, SiteFacts]:
    """Facts of sites, from their values in the network without quantizers."""
    wanted, values = list(names), dict[str, Tensor]()
    formats = dict(model.quantizers)
    with holding(model, {}):
        model.observe(images, lambda name, x: values.update({name: x.clone()}) if name in wanted else None)
    rounded: dict[str, Tensor] = {}
    for name in wanted:
        if model.sites[name].place is Place.PARAMETER:
            values[name] = model.weights[name].present_weight
            rounded[name] = model.weights[name].rounded_weight
    return {name: facts_of(model.sites[name], formats[name], values[name], rounded.get(name)) for name in wanted}
