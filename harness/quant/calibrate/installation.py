"""What schemes share: min-max ranges for weights, and one observer for each value the rule selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.calibrate.observers import OBSERVERS, Observer
from harness.quant.format import arithmetic
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

FLOAT_BITS = 32
ObserverFactory = Callable[[AffineSpec, Site], Observer]


@torch.no_grad()
def install_weight_ranges(model: QuantizedModel, bits: int, *, symmetric: bool = False, narrow: bool = False) -> None:
    """Give every weight a quantizer with one min-max range per output channel; nothing at 32 bits.

    Args:
        model: The network.
        bits: Width of the codes.
        symmetric: Signed codes and zero points at zero instead of unsigned codes.
        narrow: Leave out the most negative code (symmetric only).
    """
    if bits >= FLOAT_BITS:
        return
    spec = AffineSpec(bits, signed=symmetric, symmetric=symmetric, axis=0, narrow_range=narrow and symmetric)
    for name, operation in model.weights.items():
        low, high = torch.aminmax(operation.present_weight.flatten(1), dim=1)
        model.quantizers[name] = from_range(spec, low, high)


def value_sites(model: QuantizedModel, *, image: bool) -> list[Site]:
    """The values and constants FQ-ViT's rule quantizes: the output of every arithmetic operation.

    Values that a fused activation (GELU, ReLU) reads at once are never stored and stay out.

    Args:
        model: The network.
        image: Whether the input image is quantized (FQ-ViT: DeiT and Swin yes, ViT and LeViT no).
    """
    return [
        site
        for site in model.sites.values()
        if site.place in (Place.VALUE, Place.CONSTANT) and not site.fused and (image or site.kind is not Kind.INPUT)
    ]


def value_observers(sites: list[Site], bits: Bits, make: ObserverFactory) -> dict[str, Observer]:
    """One observer per site at the site's width: attention probabilities have their own; none at 32 bits."""
    observers: dict[str, Observer] = {}
    for site in sites:
        width = bits.softmax if site.kind is Kind.SOFTMAX else bits.activation
        if width < FLOAT_BITS:
            observers[site.name] = make(AffineSpec(width), site)
    return observers


def named_observer(kind: str) -> ObserverFactory:
    """A factory of per-tensor observers: ``minmax``, ``ema``, ``percentile`` or ``omse``."""
    return lambda spec, site: OBSERVERS[kind](spec, site.axis)


def weight_rows(model: QuantizedModel, name: str) -> torch.Tensor:
    """The weight of a site, before its quantizer, as ``(output channels, everything else)``."""
    return arithmetic.channel_rows(model.weights[name].present_weight, 0)


def unrounded(model: QuantizedModel, names: Iterable[str], method: str) -> None:
    """See that no weight was rounded to its quantizer's grid already: rounded once more to another grid it is worse.

    Args:
        model: The network.
        names: Sites of weights whose quantizer or weight is about to change.
        method: Who is about to change it, for the message.

    Raises:
        IncompatibleError: A step before has rounded one of them.
    """
    rounded = next((name for name in names if name in model.rounded_weights), None)
    if rounded is not None:
        raise IncompatibleError(
            f"{method} moves the grid of weights, and an earlier step has rounded {rounded} to the grid it has",
            f"put {method} before the step that rounds weights: fqvit+{method}+gptq",
        )
