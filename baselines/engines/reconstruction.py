"""Reconstruction of blocks or layers: learn how to round weights so that outputs come close to full precision.

One engine for AdaRound (Nagel et al. 2020), BRECQ (Li et al. 2021), QDrop (Wei et al. 2022) and FIMA-Q (Wu et al. 2025);
they differ in the unit, in what it reads, in the loss, and in whether activation scales are learned too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.activation_scales import has_learnable_scale, install_scales
from harness.baselines.engines.reconstruction_losses import Fima, Loss, PredictionGradients, fima_pair, fisher, mse
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.machine.memory import Kept
from harness.machine.progress import Task
from harness.method.base import Context
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import required
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class ReconstructionConfig:
    """Settings that all reconstruction methods share; the papers use 20,000 iterations and 1,024 images."""

    iterations: Annotated[int, Field(ge=0, description="steps per unit; the papers use 20000")] = 500
    batch: Annotated[int, Field(ge=1, description="images per step")] = 32
    lr: Annotated[
        float, Field(gt=0, description="learning rate of the rounding; the papers' 0.001 needs their many steps")
    ] = 1e-2
    regulariser: Annotated[float, Field(ge=0, description="weight of the term that pushes roundings to up or down")] = 0.01
    beta_start: Annotated[float, Field(gt=0, description="exponent of that term after warm-up")] = 20.0
    beta_end: Annotated[float, Field(gt=0, description="exponent of that term at the end")] = 2.0
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps without that term")] = 0.2


@dataclass(frozen=True)
class Switches:
    """What tells the methods apart.

    Attributes:
        unit: ``block`` (segments) or ``layer``.
        inputs: What a unit reads: outputs of the quantized network so far, of the full-precision one (layers only), or a
            mixture (blocks only).
        drop: Share of activations left unquantized while learning, and of the mixture's full-precision elements.
        scale_lr: Learning rate of activation scales; 0 leaves them alone.
        loss: ``mse``, ``fisher`` (squared gradient) or ``fima`` (diagonal and low-rank Fisher information).
        rank: Number of stored pairs of ``fima``.
    """

    unit: Literal["layer", "block"] = "block"
    inputs: Literal["quantized", "full", "mixed"] = "quantized"
    drop: float = 0.0
    scale_lr: float = 0.0
    loss: Literal["mse", "fisher", "fima"] = "mse"
    rank: int = 5


@dataclass(frozen=True)
class _Unit:
    """A block or layer whose roundings are learned together.

    Attributes:
        name: For the record.
        output: What the unit gives for images with these numbers, differentiable.
        target: What it should give, for all images.
        loss: Compares both.
        generator: Draws the images of each step.
        roundings: What is learned, by the weight's site name.
        scales: Activation scales that are learned too.
    """

    name: str
    output: Callable[[Tensor], Tensor]
    target: Kept
    loss: Loss
    generator: torch.Generator
    roundings: dict[str, SoftRounding]
    scales: list[Tensor] = field(default_factory=list)


def reconstruct(
    model: QuantizedModel, calibration: CalibrationSet, context: Context, config: ReconstructionConfig, switches: Switches
) -> None:
    """Learn the rounding of every quantized weight, segment after segment; interruptible after each of them.

    Args:
        model: A calibrated model.
        calibration: Images.
        context: The step's context.
        config: How to learn.
        switches: Which method it is.
    """
    run = _Reconstruction(model, calibration, context, config, switches)
    units = sum(map(run.units_of, range(len(model.segments))))
    with context.progress.task("reconstruction", units * config.iterations) as task:
        run.all(task)
    context.notes.update(units=units, losses=run.losses)


class _Reconstruction:
    """One reconstruction of a whole network."""

    def __init__(
        self,
        model: QuantizedModel,
        calibration: CalibrationSet,
        context: Context,
        config: ReconstructionConfig,
        switches: Switches,
    ) -> None:
        self.model = model
        self.images = calibration.images
        self.context = context
        self.config = config
        self.switches = switches
        self.losses: dict[str, list[float]] = {}
        self.gradients = PredictionGradients(model, self.images.split(config.batch), context.budget)

    def units_of(self, index: int) -> int:
        """Number of units a segment has."""
        layers = len(self.model.quantized_weights(index))
        return layers if self.switches.unit == "layer" else min(layers, 1)

    def all(self, task: Task) -> None:
        """Segment after segment, from the last finished one after an interruption."""
        done = self._resume()
        for visit in walk(self.model, self.images, self.context, batch=self.config.batch, full=True):
            units = self.units_of(visit.index)
            if units and visit.index >= done:
                self._segment(visit, task)
                self.context.checkpoint.block_done(self.model, {"done": visit.index + 1, "losses": self.losses}, {})
            else:
                task.advance(units * self.config.iterations)

    def _resume(self) -> int:
        state = self.context.checkpoint.resume(self.model)
        if state is None:
            return 0
        self.losses = state[0]["losses"]
        return int(state[0]["done"])

    def _segment(self, visit: Visit, task: Task) -> None:
        if self.switches.unit == "block":
            self._block(visit, task)
            return
        for operation in visit.operations:
            self._learn(self._layer(visit, operation), task)

    def _block(self, visit: Visit, task: Task) -> None:
        """One block against its output in full precision; its scales are learned with its roundings."""
        index, name = visit.index, visit.segment.name
        roundings = {operation.site.name: self._rounding(operation) for operation in visit.operations}
        scales = self._scales(visit)
        generator = self.context.generator(f"reconstruction/{index}")
        drop = (self.switches.drop, generator) if self.switches.drop else None

        def output(images: Tensor) -> Tensor:
            x = self._inputs(visit, images, generator)
            install_scales(self.model, scales)
            with self.model.learning({site: one.soft() for site, one in roundings.items()}, drop):
                return self.model.run(x, index, index + 1)

        learned = list(scales.values())
        self._learn(_Unit(name, output, visit.targets, self._loss(visit), generator, roundings, learned), task)
        with torch.no_grad():
            found = {site: scale.detach().abs().clamp_min(EPSILON) for site, scale in scales.items()}
            install_scales(self.model, found)

    def _layer(self, visit: Visit, operation: WeightedOperation) -> _Unit:
        """One layer against its own output in full precision."""
        budget, size = self.context.budget, self.config.batch
        # One layer's inputs of all images are in memory together for a moment: batches of one product may round otherwise.
        exact = torch.cat(list(visit.reads(operation, quantize=False)))
        with torch.no_grad():
            target = operation.function(exact, operation.present_weight, operation.shifted_bias())
        quantizer = self.model.quantizers.get(operation.operand)
        if self.switches.inputs == "full":
            inputs = budget.keep(x if quantizer is None else quantizer(x) for x in exact.split(size))
        else:
            inputs = budget.keep(visit.reads(operation, quantize=True))
        rounding = self._rounding(operation)

        def output(images: Tensor) -> Tensor:
            return operation.function(inputs.select(images), rounding.soft(), operation.shifted_bias())

        name = operation.site.name
        generator = self.context.generator(f"reconstruction/{name}")
        return _Unit(name, output, budget.keep(target.split(size)), mse, generator, {name: rounding})

    def _rounding(self, operation: WeightedOperation) -> SoftRounding:
        name = operation.site.name
        quantizer = required(Affine, self.model.quantizers[name], name, "reconstruction")
        return SoftRounding(operation.present_weight, quantizer)

    def _scales(self, visit: Visit) -> dict[str, Tensor]:
        """Activation scales of a segment that are learned."""
        if not self.switches.scale_lr:
            return {}
        return {
            name: self.model.quantizers[name].scale.clone().requires_grad_(True)
            for name in visit.segment.sites
            if has_learnable_scale(self.model, name)
        }

    def _inputs(self, visit: Visit, images: Tensor, generator: torch.Generator) -> Tensor:
        """What a block reads."""
        quantized = visit.quantized.select(images)
        if self.switches.inputs != "mixed":
            return quantized
        full = visit.full.select(images)
        drop_mask = torch.rand(full.shape, generator=generator).to(full.device) < self.switches.drop
        return torch.where(drop_mask, full, quantized)

    def _loss(self, visit: Visit) -> Loss:
        if self.switches.loss == "fisher":
            return fisher(self.context.budget.keep(self.gradients.at(visit)))
        if self.switches.loss == "fima":
            rank = self.switches.rank
            return Fima(partial(fima_pair, self.gradients, visit), rank, max(self.config.iterations // rank, 1))
        return mse

    def _learn(self, unit: _Unit, task: Task) -> None:
        """Adam on the roundings (and scales), then every rounding is decided."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": [one.variable for one in unit.roundings.values()], "lr": config.lr}]
        groups += [{"params": unit.scales, "lr": self.switches.scale_lr}] if unit.scales else []
        optimizer = torch.optim.Adam(groups)
        history: list[Tensor] = []
        for step in range(config.iterations):
            images = torch.randperm(unit.target.rows, generator=unit.generator)[: config.batch]
            with torch.enable_grad():
                error = unit.loss(unit.output(images), unit.target.select(images), images)
                total = error + self._regulariser(unit.roundings, step)
                optimizer.zero_grad()
                total.backward()
            optimizer.step()
            if unit.scales:  # cosine schedule of the scales alone
                optimizer.param_groups[1]["lr"] = self.switches.scale_lr * _cosine(step, config.iterations)
            if step in (0, config.iterations - 1):
                history.append(error.detach())
            task.advance()
        self.losses[unit.name] = [float(one) for one in history]
        for site, rounding in unit.roundings.items():
            self.model.rounded_weights[site] = rounding.hard()

    def _regulariser(self, roundings: dict[str, SoftRounding], step: int) -> Tensor | float:
        config = self.config
        begin = config.warmup * config.iterations
        if step < begin:
            return 0.0
        share = (step - begin) / max(config.iterations - begin, 1)
        beta = config.beta_end + (config.beta_start - config.beta_end) * max(0.0, 1 - share)
        return config.regulariser * torch.stack([one.undecided(beta) for one in roundings.values()]).sum()


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / max(steps, 1)))))
