"""What schemes share: min-max ranges for weights, and one observer for each tensor the placement selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from harness.errors import IncompatibleError
from harness.graph.sites import Site
from harness.quant.calibrate.observers import OBSERVERS, Observer
from harness.quant.calibrate.placement import VALUES, Placement
from harness.quant.format import arithmetic
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

FLOAT_BITS = 32
ObserverFactory = Callable[[AffineSpec, Site], Observer]


@torch.no_grad()
def install_weight_ranges(
    model: QuantizedModel, bits: Bits | int, *, symmetric: bool = False, narrow: bool = False, placement: Placement = VALUES
) -> None:
    """Give every weight a quantizer with one min-max range per output channel; nothing where it has 32 bits.

    Args:
        model: The network.
        bits: Widths of the trial, which may differ between weights; or one width for all.
        symmetric: Signed codes and zero points at zero instead of unsigned codes.
        narrow: Leave out the most negative code (symmetric only).
        placement: ``deploy`` fixes the codes, whatever the two say.
    """
    for name, operation in model.weights.items():
        width = bits if isinstance(bits, int) else bits.at(operation.site).weight
        if width >= FLOAT_BITS:
            continue
        spec = placement.weight_spec(width, symmetric=symmetric, narrow=narrow)
        low, high = torch.aminmax(operation.present_weight.flatten(1), dim=1)
        model.quantizers[name] = from_range(spec, low, high)


def value_sites(model: QuantizedModel, *, image: bool) -> list[Site]:
    """The values and constants FQ-ViT's rule quantizes: the output of every arithmetic operation.

    Args:
        model: The network.
        image: Whether the input image is quantized (FQ-ViT: DeiT and Swin yes, ViT and LeViT no).
    """
    return Placement("values", image=image).among(model)


def value_observers(
    sites: list[Site], bits: Bits, make: ObserverFactory, *, symmetric: bool = False, placement: Placement = VALUES
) -> dict[str, Observer]:
    """One observer per activation or constant at the width that the placement gives it; none at 32 bits.

    Args:
        sites: Those of the placement, or of a rule of the scheme's own.
        bits: Widths of the trial.
        make: Makes the observer of a site.
        symmetric: Signed codes and zero points at zero instead of unsigned codes.
        placement: Where quantizers sit.
    """
    observers: dict[str, Observer] = {}
    for site in sites:
        width = placement.width(site, bits)
        if width < FLOAT_BITS:
            observer = make(placement.activation_spec(width, symmetric=symmetric), site)
            observer.through_zero = placement.deployed
            observers[site.name] = observer
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
