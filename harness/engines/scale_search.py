"""What searches over scales share: units, cached segment inputs, and the loss of the present scales.

Only what changed is recomputed: a candidate for a unit in segment ``s`` runs segments ``s`` to the end on inputs that
were computed once, and inputs of later segments are forgotten only when the unit really changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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
    """The unit's scales as one vector."""
    return torch.cat([model.quantizers[name].scale.detach().reshape(-1) for name in unit.sites])


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
        scale = vector[start : start + quantizer.scale.numel()]
        start += quantizer.scale.numel()
        changed = replace(quantizer, scale=scale)
        if move_zero_points and isinstance(changed, Affine):
            changed = _with_lower_end(changed)
        model.quantizers[name] = changed


def _with_lower_end(quantizer: Affine) -> Affine:
    """The format with zero points that put the lower end of its range where it was; symmetric ones and others stay."""
    if quantizer.symmetric or quantizer.minimum.shape != quantizer.scale.shape:
        return quantizer
    low, high = quantizer.code_range
    zero_point = (low - torch.round(quantizer.minimum / quantizer.scale.detach())).clamp(low, high)
    return replace(quantizer, zero_point=zero_point)


class Objective:
    """The loss of the present scales over the calibration batches, computed from cached segment inputs.

    Args:
        model: A calibrated model.
        batches: Calibration images in fixed batches.
        loss: Function of quantized and target logits of one batch.
        target: ``true_fp``: logits of the full-precision network. ``release``: the released code's target, in which
            integer LayerNorm and log-int-softmax stay active.
        context: The step's context; what it shares with other trials is taken from there. None shares nothing.
    """

    def __init__(
        self,
        model: QuantizedModel,
        batches: list[Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        target: Target,
        context: Context | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.evaluations = 0
        self._memo = context.memo if context else Memo()
        self._budget = context.budget if context else Budget()
        self._prefix = (context.prefix if context else "", tuple(map(len, batches)))
        origin = (context.origin if context else "", self._prefix[1])
        integers = target == "release"
        self.targets = self._memo.once(
            "targets",
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
        return self._memo.once("segment inputs", self._prefix, compute, part=segment, forwards=self._counter, optional=True)

    def inputs(self, segment: int) -> Kept:
        """Inputs of a segment under the present scales, batch by batch. Not to be changed in place."""
        return self._inputs[segment]

    def changed(self, segment: int) -> None:
        """Forget what comes after a segment whose scales changed."""
        self._inputs.changed(segment)

    @torch.no_grad()
    def value(self, segment: int) -> float:
        """Mean loss over the batches, running from ``segment`` to the end; float64 sum in fixed order."""
        self.evaluations += 1
        losses = [
            self.loss(self.model.run(x, segment), target)
            for x, target in zip(self.inputs(segment), self.targets, strict=True)
        ]
        return math.fsum(torch.stack(losses).tolist()) / len(losses)  # the only wait for the device per candidate

    def first_value(self, segment: int) -> float:
        """The loss before any change.

        Raises:
            DivergedError: It is not finite.
        """
        value = self.value(segment)
        if not math.isfinite(value):
            raise DivergedError(f"the loss of the calibrated model is {value} before any search")
        return value
