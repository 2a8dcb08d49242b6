"""The two stages of I&S-ViT that learn weights, block by block, against the full-precision block's output."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.baselines.engines.learned_weights import LearnedWeights
from harness.baselines.engines.reconstruction_losses import mse
from harness.baselines.engines.reconstruction_units import ReconstructionConfig, Unit, learn
from harness.engines.layerwise import Visit, walk
from harness.machine.progress import Task
from harness.method.base import Context
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class Effort:
    """How long weights are learned.

    Attributes:
        iterations: Steps per block.
        batch: Images per step.
        lr: Adam's rate, which falls like a cosine.
    """

    iterations: int
    batch: int
    lr: float


def learn_weights(
    model: QuantizedModel,
    images: Tensor,
    context: Context,
    effort: Effort,
    task: Task,
    *,
    stage: str,
    segments: Collection[int],
    inputs: str,
    done: int = 0,
    finished: Callable[[int, str, list[float]], None],
) -> None:
    """Learn weights and biases of segments with their quantizers as they are; scales and norms stay.

    Args:
        model: Its weights are changed.
        images: ``(n, c, h, w)``.
        context: The step's context.
        effort: How long.
        task: Advances with each step.
        stage: For the names of losses and the random numbers.
        segments: Which ones are learned, by index; the others stay as they are.
        inputs: What segments read: ``full`` precision, or outputs of the ``quantized`` network so far.
        done: Segments that were learned before an interruption.
        finished: Called with the index of each learned segment, its name, and its first and last loss.
    """
    if not segments:
        return
    config = ReconstructionConfig(iterations=effort.iterations, batch=effort.batch)
    for visit in walk(model, images, context, batch=effort.batch, full=True, quantized=inputs == "quantized"):
        if visit.index < done or visit.index not in segments:
            task.advance(effort.iterations)
            continue
        generator = context.generator(f"isvit/{stage}/{visit.index}")
        learned = LearnedWeights(model, visit.index)
        unit = _unit(model, visit, learned, effort, generator, quantized=inputs == "quantized")
        losses = learn(unit, config, task)
        learned.settle()
        finished(visit.index, unit.name, losses)


def _unit(
    model: QuantizedModel,
    visit: Visit,
    learned: LearnedWeights,
    effort: Effort,
    generator: torch.Generator,
    *,
    quantized: bool,
) -> Unit:
    read = visit.quantized if quantized else visit.full

    def output(images: Tensor) -> Tensor:
        learned.install()
        return model.run(read.select(images), visit.index, visit.index + 1)

    variables = learned.variables
    return Unit(
        visit.segment.name, output, visit.targets, mse, generator, effort.iterations, scales=variables, scale_lr=effort.lr
    )
