"""MLP reconstruction of APHQ-ViT: ReLU in the place of GELU, and weights that make up for it (Wu et al., CVPR 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.engines.curvature_losses import PERTURBATION, TINY
from harness.baselines.engines.mlps import Mlp
from harness.baselines.engines.reconstruction_losses import PredictionGradients
from harness.baselines.engines.reconstruction_units import ReconstructionConfig, Unit, learn
from harness.engines.layerwise import Visit
from harness.machine.progress import Task
from harness.method.base import Context
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class MlpEffort:
    """How an MLP is learned.

    Attributes:
        iterations: Steps.
        batch: Images per step.
        lr: Adam's rate, which falls like a cosine.
        percentile: Share of the positive values of the full-precision GELU below the cut.
        clipped: Weight of the loss with activations cut there.
        loss: Squared error weighted by the average perturbation Hessian (``aphq``), or plain (``mse``).
    """

    iterations: int
    batch: int
    lr: float
    percentile: float
    clipped: float
    loss: Literal["aphq", "mse"]


class LearnedMlp:
    """Weights and biases of one MLP with ReLU, learned against its output with GELU.

    Args:
        model: The network.
        mlp: The MLP.
    """

    def __init__(self, model: QuantizedModel, mlp: Mlp) -> None:
        self.model = model
        self.mlp = mlp
        self.biases = [_bias(one.transformed_bias(), one.weight) for one in (mlp.first, mlp.second)]
        starts = mlp.first.present_weight, self.biases[0], mlp.second.present_weight, self.biases[1]
        self.variables = [one.detach().clone().requires_grad_(True) for one in starts]

    def both(self, x: Tensor, highest: float) -> Tensor:
        """Its output ``(1, ...)`` and that with activations cut at ``highest``, one after the other: ``(2, ...)``.

        Args:
            x: What it reads.
            highest: Where activations are cut.
        """
        first, first_bias, second, second_bias = self.variables
        hidden = torch.relu(F.linear(x, first, first_bias))
        return torch.stack([F.linear(one, second, second_bias) for one in (hidden, hidden.clamp_max(highest))])

    def settle(self) -> None:
        """Leave it in the network: a transform that alters it."""
        weights, biases = self.variables[::2], self.variables[1::2]
        for operation, weight, bias, before in zip(
            (self.mlp.first, self.mlp.second), weights, biases, self.biases, strict=True
        ):
            self.model.replaced_weights[operation.site.name] = weight.detach()
            self.model.transform_bias(operation.node, bias.detach() - before)
        self.model.edits.rectified.add(self.mlp.activation.name)


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias


def reconstruct_mlp(
    model: QuantizedModel,
    mlp: Mlp,
    visit: Visit,
    gradients: PredictionGradients,
    context: Context,
    effort: MlpEffort,
    task: Task,
) -> list[float]:
    """Learn one MLP and put it into the network; returns the first and last loss and where activations were cut.

    Args:
        model: The network.
        mlp: The MLP.
        visit: Its segment, on a walk through the full-precision network.
        gradients: Of the prediction.
        context: The step's context.
        effort: How.
        task: Advances with each step.
    """
    inputs = context.budget.keep(visit.reads(mlp.first, quantize=False))
    highest = positive_percentile((_hidden(mlp, x) for x in inputs), effort.percentile)
    targets = context.budget.keep(_outputs(mlp, inputs))
    curvature = torch.ones(()) if effort.loss == "mse" else mlp_curvature(model, mlp, visit, gradients)
    learned = LearnedMlp(model, mlp)

    def output(images: Tensor) -> Tensor:
        return learned.both(inputs.select(images), highest)

    def loss(outputs: Tensor, target: Tensor, images: Tensor) -> Tensor:
        whole, cut = (((one - target).square() * curvature).sum(1).mean() / 10 for one in outputs)
        total: Tensor = whole + effort.clipped * cut
        return total

    name = mlp.first.site.name
    generator = context.generator(f"relumlp/{name}")
    config = ReconstructionConfig(iterations=effort.iterations, batch=effort.batch)
    steps, rate = effort.iterations, effort.lr
    unit = Unit(name, output, targets, loss, generator, steps, scales=learned.variables, scale_lr=rate)
    losses = learn(unit, config, task)
    learned.settle()
    return [*losses, highest]


@torch.no_grad()
def _hidden(mlp: Mlp, x: Tensor) -> Tensor:
    first = mlp.first
    return mlp.function(F.linear(x, first.present_weight, first.transformed_bias()))


@torch.no_grad()
def _outputs(mlp: Mlp, inputs: Iterable[Tensor]) -> Iterator[Tensor]:
    for x in inputs:
        yield F.linear(_hidden(mlp, x), mlp.second.present_weight, mlp.second.transformed_bias())


def positive_percentile(batches: Iterable[Tensor], share: float) -> float:
    """The value that this share of the positive values does not exceed: the released code's, of all images.

    Positive values of all batches are in memory together for a moment.

    Args:
        batches: Values.
        share: Between 0 and 1.
    """
    positive = torch.cat([x[x > 0] for x in batches])
    if not len(positive):
        return 0.0
    return float(positive.kthvalue(max(math.ceil(len(positive) * share), 1)).values)


def mlp_curvature(
    model: QuantizedModel, mlp: Mlp, visit: Visit, gradients: PredictionGradients, step: float = PERTURBATION
) -> Tensor:
    """Average perturbation Hessian of an MLP's output, whose root mean square is made one.

    Args:
        model: The network.
        mlp: The MLP.
        visit: Its segment.
        gradients: Of the prediction.
        step: How far the output is moved, up and down.

    Returns:
        Shaped like the output of one image.
    """
    total: Tensor | None = None
    for number, x in enumerate(visit.full):
        up, down = (_gradient(model, mlp, visit, gradients, x, number, sign * step) for sign in (1, -1))
        part = (up - down).abs().sum(0)
        total = part if total is None else total + part
    assert total is not None
    return total / total.square().mean().sqrt().clamp_min(TINY)


def _gradient(
    model: QuantizedModel, mlp: Mlp, visit: Visit, gradients: PredictionGradients, x: Tensor, number: int, step: float
) -> Tensor:
    """The gradient by the MLP's output, moved by a step, in the full-precision network."""
    leaves: list[Tensor] = []

    def moved(module: object, read: object, output: Tensor) -> Tensor:
        leaves.append((output.detach() + step).requires_grad_(True))
        return leaves[-1]

    hook = mlp.second.register_forward_hook(moved)
    try:
        with torch.enable_grad():
            gradients.divergence(model.run_full_precision(x, visit.index), number).backward()
    finally:
        hook.remove()
    gradient = leaves[0].grad
    assert gradient is not None
    return gradient
