"""Learning of one unit of a reconstruction: a block or layer whose output should come close to a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.reconstruction_losses import Loss
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.machine.memory import Kept
from harness.machine.progress import Task
from harness.method.settings import JOINED


@dataclass(frozen=True)
class ReconstructionConfig:
    """Settings that all reconstruction methods share; their defaults are those of the released codes."""

    iterations: Annotated[int, Field(ge=0, description="steps per unit")] = 20_000
    batch: Annotated[int, Field(ge=1, description="images per step")] = 32
    lr: Annotated[float, Field(gt=0, description="learning rate of the rounding")] = 1e-3
    regulariser: Annotated[float, Field(ge=0, description="weight of the term that pushes roundings to up or down")] = 0.01
    beta_start: Annotated[float, Field(gt=0, description="exponent of that term after warm-up")] = 20.0
    beta_end: Annotated[float, Field(gt=0, description="exponent of that term at the end")] = 2.0
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps without that term")] = 0.2
    images: Annotated[int, Field(ge=1, description="calibration images used, if the trial has as many")] = 1024
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            description="products of a block while it is learned: single precision, or bfloat16, which GPUs multiply faster "
            "(results differ; codes and losses stay in single precision)",
            json_schema_extra=JOINED,
        ),
    ] = "float32"


# What a CPU can do in minutes: fewer steps, each ten times as long. Ours; part of the preset `short` of every method.
SHORT: dict[str, Any] = {"iterations": 500, "lr": 1e-2}


@dataclass(frozen=True)
class Unit:
    """A block or layer that is learned as a whole.

    Attributes:
        name: For the record.
        output: What the unit gives for images with these numbers, differentiable.
        target: What it should give, for all images.
        loss: Compares both.
        generator: Draws the images of each step.
        steps: Number of steps.
        roundings: Learned, by the weight's site name.
        scales: Activation scales that are learned, with a learning rate that falls like a cosine.
        scale_lr: That rate at the beginning.
    """

    name: str
    output: Callable[[Tensor], Tensor]
    target: Kept
    loss: Loss
    generator: torch.Generator
    steps: int
    roundings: dict[str, SoftRounding] = field(default_factory=dict)
    scales: list[Tensor] = field(default_factory=list)
    scale_lr: float = 0.0


def learn(unit: Unit, config: ReconstructionConfig, task: Task) -> list[float]:
    """Adam on a unit's roundings and scales; returns its loss at the first step and at the last.

    Args:
        unit: Its roundings and scales are changed.
        config: How.
        task: Advances by one with each step.
    """
    variables = [one.variable for one in unit.roundings.values()]
    groups = [{"params": variables, "lr": config.lr}] if variables else []
    groups += [{"params": unit.scales, "lr": unit.scale_lr}] if unit.scales else []
    if not groups:
        task.advance(unit.steps)
        return []
    optimizer = torch.optim.Adam(groups)
    history: list[Tensor] = []
    for step in range(unit.steps):
        images = torch.randperm(unit.target.rows, generator=unit.generator)[: config.batch]
        with torch.enable_grad():
            error = unit.loss(unit.output(images), unit.target.select(images), images)
            optimizer.zero_grad()
            (error + _regulariser(unit, config, step)).backward()
        optimizer.step()
        if unit.scales:
            optimizer.param_groups[-1]["lr"] = unit.scale_lr * 0.5 * (1 + math.cos(math.pi * (step + 1) / unit.steps))
        if step in (0, unit.steps - 1):
            history.append(error.detach())
        task.advance()
    return [float(one) for one in history]


def _regulariser(unit: Unit, config: ReconstructionConfig, step: int) -> Tensor | float:
    """``lambda sum(1 - |2 h - 1|^beta)``; beta falls linearly after the warm-up. Steps count from one, as released."""
    begin, count = config.warmup * unit.steps, step + 1
    if count < begin or not unit.roundings:
        return 0.0
    share = (count - begin) / max(unit.steps - begin, 1)
    beta = config.beta_end + (config.beta_start - config.beta_end) * max(0.0, 1 - share)
    return config.regulariser * torch.stack([one.undecided(beta) for one in unit.roundings.values()]).sum()
