"""Gradients at every site at once, and what the errors of quantizers cost by the empirical Fisher information.

To second order an error ``d`` of a site's values costs ``d^T F d / 2`` of the log-likelihood, with the empirical Fisher
``F = g g^T`` of the gradient ``g`` of one image. Without labels the class is the one that the network predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.engines.sensitivity import holding
from harness.graph.sites import Place
from harness.machine.progress import Task
from harness.quant.format.base import NumberFormat
from harness.quant.network.qmodel import QuantizedModel

PASSES = 3.0  # forward passes that one forward and one backward pass count as


@contextmanager
def differentiable(model: QuantizedModel, images: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The values of every site and the logits of the network without quantizers, with a graph behind them.

    Args:
        model: The network; transforms and corrections act.
        images: ``(n, c, h, w)``.
    """
    values: dict[str, Tensor] = {}
    borrowed: list[Tensor] = []

    def watch(name: str, x: Tensor) -> None:
        if not x.requires_grad:  # an image or a constant
            borrowed.append(x.requires_grad_())
        elif not x.is_leaf:
            x.retain_grad()
        values[name] = x

    weights = {name: one.present_weight.detach().clone().requires_grad_() for name, one in model.weights.items()}
    runtime = model.chain.runtime
    with holding(model, {}), model.learning(weights), torch.enable_grad():
        runtime.observe = watch
        try:
            logits = model.run(images.clone())
            runtime.observe = None
            yield {**values, **weights}, logits
        finally:
            runtime.observe = None
            for x in borrowed:
                x.requires_grad_(False)
                x.grad = None


def predicted_loss(logits: Tensor) -> Tensor:
    """Negative log-likelihood of the classes that the network itself predicts, summed over images."""
    return F.cross_entropy(logits, logits.detach().argmax(1), reduction="sum")


def error_of(model: QuantizedModel, name: str, quantizer: NumberFormat, x: Tensor) -> Tensor:
    """What a quantizer does to the values of a site."""
    if model.sites[name].place is Place.PARAMETER:
        operation = model.weights[name]
        return quantizer.weight(operation.rounded_weight, operation.present_weight) - x
    return quantizer(x) - x


def fisher(
    model: QuantizedModel, images: Tensor, formats: Mapping[str, list[NumberFormat]], task: Task
) -> dict[str, list[float]]:
    """Mean over images of ``(g . d)^2 / 2`` for every site and each of its formats.

    Args:
        model: The network.
        images: ``(n, c, h, w)``; one forward and one backward pass each.
        formats: Quantizers by site.
        task: Hears of every image.
    """
    totals = {name: [0.0] * len(many) for name, many in formats.items()}
    for image in task.track(images.split(1)):
        with differentiable(model, image) as (values, logits):
            predicted_loss(logits).backward()
            found = {name: (values[name].detach(), values[name].grad) for name in formats if name in values}
        _count(model, len(image))
        with torch.no_grad():
            for name, (x, gradient) in found.items():
                if gradient is None:  # nothing of it reaches the logits
                    continue
                for at, quantizer in enumerate(formats[name]):
                    product = (gradient.double() * error_of(model, name, quantizer, x).double()).sum()
                    totals[name][at] += float(product) ** 2 / 2
    return {name: [total / len(images) for total in many] for name, many in totals.items()}


def _count(model: QuantizedModel, images: int) -> None:
    """Backward passes cost twice a forward pass."""
    model.image_forwards += (PASSES - 1) * images


def traces(
    model: QuantizedModel, images: Tensor, names: Iterable[str], probes: Callable[[Tensor], Tensor], task: Task
) -> dict[str, float]:
    """Trace of the Hessian of the loss with respect to each site's values, per element, by Hutchinson's estimator.

    Args:
        model: The network.
        images: ``(n, c, h, w)``; one estimate each.
        names: The sites.
        probes: A random tensor of signs like the given one. All sites share one product with the Hessian: terms between
            two sites vanish in the mean, because their signs are independent.
        task: Hears of every image.

    Returns:
        Mean of ``v^T H v`` over images, over the number of elements; negative estimates are zero.
    """
    wanted = list(names)
    totals = dict.fromkeys(wanted, 0.0)
    for image in task.track(images.split(1)):
        with differentiable(model, image) as (values, logits):
            present = [name for name in wanted if name in values]
            tensors = [values[name] for name in present]
            first = torch.autograd.grad(predicted_loss(logits), tensors, create_graph=True, allow_unused=True)
            signs = [probes(x) for x in tensors]
            used = [(gradient * sign).sum() for gradient, sign in zip(first, signs, strict=True) if gradient is not None]
            second = torch.autograd.grad(torch.stack(used).sum(), tensors, allow_unused=True)
            for name, sign, product in zip(present, signs, second, strict=True):
                if product is not None:
                    totals[name] += float((product.double() * sign.double()).sum()) / sign.numel()
        _count(model, 2 * len(image))
    return {name: max(total / len(images), 0.0) for name, total in totals.items()}
