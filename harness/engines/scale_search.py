"""What searches over scales share: units, cached segment inputs, and the loss of the present scales.

Only what changed is recomputed: a candidate for a unit in segment ``s`` runs segments ``s`` to the end on inputs that
were computed once, and inputs of later segments are forgotten only when the unit really changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from harness.engines.layerwise import SegmentInputs
from harness.errors import DivergedError
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.machine.memory import Budget, Kept
from harness.method.base import Context
from harness.method.memo import Memo
from harness.quant.format.affine import Affine
from harness.quant.network.qmodel import QuantizedModel

Scope = Literal["attention_weights", "block_weights", "block"]
Order = Literal["forward", "reverse"]
Target = Literal["true_fp", "release"]


@dataclass(frozen=True)
class Unit:
    """Scales that are searched together.

    Attributes:
        name: Module path of the attention module, block or layer.
        segment: Index of the first segment that a change concerns.
        sites: Names of the quantizers, in execution order.
    """

    name: str
    segment: int
    sites: tuple[str, ...]


def units_of(model: QuantizedModel, scope: Scope, order: Order = "forward") -> list[Unit]:
    """The units of a model; units without scales are left out.

    Args:
        model: A calibrated model.
        scope: ``attention_weights``: the weights inside one attention module (Evol-Q's release); in a network without
            attention one convolution each (Evol-Q's CNN experiments). ``block_weights``: all weights of a block. ``block``:
            all scales of a block, weights and activations (Evol-Q's paper).
        order: First to last in execution order, or last to first.
    """
    names = [name for name in model.sites if name in model.quantizers and model.quantizers[name].scale.numel()]
    if scope != "block":
        names = [name for name in names if model.sites[name].place is Place.PARAMETER]
    has_attention = any(site.attention for site in model.sites.values())
    if scope != "attention_weights":
        units = _grouped(model, names, lambda name: _block_of(model, name))
    else:
        units = _grouped(model, names, lambda name: _attention_of(model.sites[name], has_attention))
    return units[::-1] if order == "reverse" else units


def _block_of(model: QuantizedModel, site: str) -> str:
    segment = model.segments[model.segment_of(site)]
    return segment.name if segment.is_block else ""


def _attention_of(site: Site, has_attention: bool) -> str:
    """The attention module of a weight; in a network without attention each convolution is a unit of its own."""
    if has_attention:
        return site.attention
    return site.name if Kind.CONV in site.feeds else ""


def _grouped(model: QuantizedModel, names: Iterable[str], key: Callable[[str], str]) -> list[Unit]:
    groups: dict[str, list[str]] = {}
    for name in names:
        if key(name):
            groups.setdefault(key(name), []).append(name)
    return [Unit(group, min(map(model.segment_of, sites)), tuple(sites)) for group, sites in groups.items()]


def read_scales(model: QuantizedModel, unit: Unit) -> Tensor:
    """The unit's free scales as one vector: a power-of-two quantizer has one, its smallest scale."""
    return torch.cat([model.quantizers[name].free_scales for name in unit.sites])


def write_scales(model: QuantizedModel, unit: Unit, vector: Tensor, *, move_zero_points: bool = False) -> None:
    """Put a vector of scales into the unit's quantizers.

    Args:
        model: The model.
        unit: The unit.
        vector: Scales in the order of ``read_scales``; gradients flow through them if it asks for gradients.
        move_zero_points: Recompute zero points so that the range's lower end stays in place; the release keeps them.
    """
    start = 0
    for name in unit.sites:
        quantizer = model.quantizers[name]
        count = quantizer.free_scales.numel()
        changed = quantizer.with_free_scales(vector[start : start + count])
        start += count
        model.quantizers[name] = changed.at_lower_end() if move_zero_points and isinstance(changed, Affine) else changed


def batches_of(images: Tensor, size: int, *, drop_incomplete: bool = False) -> list[Tensor]:
    """Images in batches of nearly the same size, at most ``size``: a small last one would have few negatives.

    Args:
        images: ``(n, c, h, w)``.
        size: Largest batch.
        drop_incomplete: Batches of exactly ``size`` instead, without what is left over (Evol-Q's release).
    """
    if not drop_incomplete or len(images) < size:
        return list(images.tensor_split(-(-len(images) // size)))
    return list(images[: len(images) // size * size].split(size))


class Objective:
    """The loss of the present scales over the calibration batches, computed from cached segment inputs.

    Args:
        model: A calibrated model.
        batches: Calibration images in fixed batches.
        loss: Function of quantized and target logits of one batch.
        target: ``true_fp``: logits of the full-precision network. ``release``: the released code's target, in which
            integer LayerNorm and log-int-softmax stay active.
        context: The step's context; what it shares with other trials is taken from there. None shares nothing.
        offset: Position of the first image in the calibration set; with the sizes of the batches it tells which they are.
    """

    def __init__(
        self,
        model: QuantizedModel,
        batches: list[Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        target: Target,
        context: Context | None = None,
        offset: int = 0,
    ) -> None:
        self.model = model
        self.loss = loss
        self.evaluations = 0
        self._memo = context.memo if context else Memo()
        self._budget = context.budget if context else Budget()
        self._kind = "held-out " if offset else ""  # the memo keeps the newest result of a kind: two objectives, two kinds
        self._sizes = tuple(map(len, batches))
        self._prefix = (context.prefix if context else "", (offset, *self._sizes))
        origin = (context.origin if context else "", self._prefix[1])
        integers = target == "release"
        self.targets = self._memo.once(
            f"{self._kind}targets",
            (self._prefix if integers else origin, target),  # integer operators belong to the scheme before this step
            lambda: self._full_precision(batches, integers=integers),
            forwards=self._counter,
        )
        self._inputs = SegmentInputs(model.run, batches, self._budget, self._shared)

    @torch.no_grad()
    def _full_precision(self, batches: list[Tensor], *, integers: bool) -> Kept:
        return self._budget.keep(self.model.run_full_precision(images, integers=integers) for images in batches)

    def _counter(self) -> float:
        return self.model.image_forwards

    def _shared(self, segment: int, compute: Callable[[], Kept]) -> Kept:
        """Until the first change of a scale other trials with this prefix have the same inputs."""
        return self._memo.once(
            f"{self._kind}segment inputs", self._prefix, compute, part=segment, forwards=self._counter, optional=True
        )

    def inputs(self, segment: int) -> Kept:
        """Inputs of a segment under the present scales, batch by batch. Not to be changed in place."""
        return self._inputs[segment]

    def changed(self, segment: int) -> None:
        """Forget what comes after a segment whose scales changed."""
        self._inputs.changed(segment)

    @torch.no_grad()
    def logits(self, segment: int) -> list[Tensor]:
        """Quantized logits of every batch, running from ``segment`` to the end."""
        self.evaluations += 1
        return [self.model.run(x, segment) for x in self.inputs(segment)]

    @torch.no_grad()
    def loss_of(self, logits: Iterable[Tensor]) -> float:
        """Mean loss over the images of logits in the objective's batches; float64 sum in fixed order."""
        losses = [self.loss(output, target) for output, target in zip(logits, self.targets, strict=True)]
        values = torch.stack(losses).tolist()  # the only wait for the device per candidate
        return math.fsum(value * size for value, size in zip(values, self._sizes, strict=True)) / sum(self._sizes)

    def value(self, segment: int) -> float:
        """The loss of the present scales, running from ``segment`` to the end."""
        return self.loss_of(self.logits(segment))

    @cached_property
    def floor(self) -> float:
        """The loss of the target against itself: below it there is nothing to gain."""
        return self.loss_of(self.targets)

    def first_value(self, segment: int) -> float:
        """The loss before any change.

        Raises:
            DivergedError: It is not finite.
        """
        value = self.value(segment)
        if not math.isfinite(value):
            raise DivergedError(f"the loss of the calibrated model is {value} before any search")
        return value
