"""One pass over the calibration images that feeds the observers a method declared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from harness.quant.calibrate.observers import MinMaxObserver, Observer
from harness.quant.format.affine import AffineSpec
from harness.quant.format.base import NumberFormat
from harness.quant.network.qmodel import QuantizedModel


@torch.no_grad()
def collect(
    model: QuantizedModel,
    batches: Iterable[Tensor],
    observers: Mapping[str, Observer],
    *,
    quantize: bool = False,
    live_softmax: bool = False,
) -> dict[str, NumberFormat]:
    """Show every batch to the observers and return the quantizers they propose after the last one.

    Statistics are those of the full-precision network, as in FQ-ViT, unless ``quantize`` is set.

    Args:
        model: The network.
        batches: Images ``(n, c, h, w)``.
        observers: By site name; sites of weights are not visited (their values need no data).
        quantize: Observe the network with its present quantizers acting.
        live_softmax: Install proposals at once while the last batch runs, so that log-int-softmax already acts in it:
            FQ-ViT's release does this, and what comes after the first softmax sees it.

    Raises:
        ValueError: There is no batch.
    """
    proposals: dict[str, NumberFormat] = {}

    def watch(name: str, x: Tensor) -> None:
        if name in observers:
            observers[name].update(x)

    def watch_last(name: str, x: Tensor) -> None:
        if name in observers:
            observers[name].update(x)
            proposals[name] = observers[name].finish(x)
            if live_softmax:
                model.quantizers[name] = proposals[name]

    previous: Tensor | None = None
    for images in batches:
        if previous is not None:
            model.observe(previous, watch, quantize=quantize)
        previous = images
    if previous is None:
        raise ValueError("no calibration batch")
    model.observe(previous, watch_last, quantize=quantize, live_softmax=live_softmax)
    return proposals


def channel_ranges(
    model: QuantizedModel, sites: Iterable[str], batches: Iterable[Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Minimum and maximum per channel of values in full precision whose channels are last.

    Args:
        model: The network.
        sites: Names of the sites.
        batches: Images ``(n, c, h, w)``.
    """
    observers = {name: MinMaxObserver(AffineSpec(8, axis=-1), -1) for name in sites}
    collect(model, batches, observers)
    return {name: observer.range for name, observer in observers.items()}
