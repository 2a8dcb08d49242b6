"""Reconstruction of blocks or layers: learn how to round weights so that outputs come close to full precision.

One engine for AdaRound (Nagel et al. 2020), BRECQ (Li et al. 2021), QDrop (Wei et al. 2022), the reconstruction of AdaLog's
released code (Wu et al. 2024), FIMA-Q (Wu et al. 2025), APHQ-ViT (Wu et al. 2025) and LS-ViT (2026); they differ in the
unit, in what it reads, in the loss, and in when activations are quantized and their scales learned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from harness.baselines.engines.activation_scales import activation_quantizers, has_learnable_scale, install_scales
from harness.baselines.engines.calibration_images import first_images
from harness.baselines.engines.curvature_losses import LeastSquares, perturbation_curvature, started_at_two, weighted
from harness.baselines.engines.reconstruction_losses import (
    Fima,
    Loss,
    PredictionGradients,
    divergence,
    fima_pair,
    fisher,
    mse,
    power,
    tenth,
)
from harness.baselines.engines.reconstruction_units import ReconstructionConfig, Unit, learn
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.baselines.engines.switches import BY_DIVERGENCE, TEMPERATURES, Switches
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import Visit, walk
from harness.machine.progress import Task
from harness.method.base import Context
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import EPSILON
from harness.quant.format.base import required
from harness.quant.network.drop_masks import drawn, on_device
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

Stage = Literal["roundings", "scales"]


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
    images = first_images(calibration, config.images, context)
    run = _Reconstruction(model, images, context, config, switches)
    units = sum(len(run.units_of(index)) for index in range(len(model.segments)))
    blocks = len(model.segments) if switches.scale_steps else 0
    with context.progress.task("reconstruction", units * config.iterations + blocks * switches.scale_steps) as task:
        run.all(task)
    context.notes.update(units=units, losses=run.losses)


def block_unit(
    model: QuantizedModel,
    visit: Visit,
    images: Tensor,
    context: Context,
    config: ReconstructionConfig,
    switches: Switches,
) -> Unit:
    """One block as it is learned, without learning it: for measurements.

    Args:
        model: A calibrated model.
        visit: The block, on a walk through both networks.
        images: Those of the walk.
        context: The step's context.
        config: How it would be learned.
        switches: By which method.
    """
    run = _Reconstruction(model, images, context, config, switches)
    (operations,) = run.units_of(visit.index)
    return run.block(visit, operations, run.scales(visit))


class _Reconstruction:
    """One reconstruction of a whole network."""

    def __init__(
        self, model: QuantizedModel, images: Tensor, context: Context, config: ReconstructionConfig, switches: Switches
    ) -> None:
        self.model = model
        self.images = images
        self.context = context
        self.config = config
        self.switches = switches
        self.losses: dict[str, list[float]] = {}
        temperature = TEMPERATURES.get(switches.loss, 1.0)
        self.gradients = PredictionGradients(model, images.split(config.batch), context.budget, temperature)

    def units_of(self, index: int) -> list[list[WeightedOperation]]:
        """The operations of a segment that are learned together, unit by unit."""
        first = next(iter(self.model.weights.values()))
        operations = [one for one in self.model.quantized_weights(index) if self.switches.first or one is not first]
        if self.switches.unit == "layer":
            return [[one] for one in operations]
        return [operations] if operations else []

    def all(self, task: Task) -> None:
        """Roundings, then scales if they have a stage of their own; from the last finished segment after an interruption."""
        aside = activation_quantizers(self.model) if self.switches.activations == "full" else {}
        stage, done = self._resume()
        if stage == "roundings":
            for name in aside:
                self.model.quantizers.pop(name, None)  # after an interruption they are gone already
            self._roundings(done, task)
            self.model.quantizers.update(aside)
            done = 0
        if self.switches.scale_steps and self.switches.scale_lr:
            self._scale_stage(done, task)

    def _resume(self) -> tuple[Stage, int]:
        state = self.context.checkpoint.resume(self.model)
        if state is None:
            return "roundings", 0
        self.losses = state[0]["losses"]
        return state[0]["stage"], int(state[0]["done"])

    def _finished(self, stage: Stage, index: int) -> None:
        facts = {"stage": stage, "done": index + 1, "losses": self.losses}
        self.context.checkpoint.block_done(self.model, facts, {})

    def _roundings(self, done: int, task: Task) -> None:
        """Segment after segment; activations are quantized if their quantizers are there."""
        quantized = self.switches.inputs != "full"
        visits = walk(self.model, self.images, self.context, batch=self.config.batch, full=True, quantized=quantized)
        for visit in visits:
            units = self.units_of(visit.index)
            if visit.index < done:
                task.advance(len(units) * self.config.iterations)
                continue
            for operations in units:
                self._round(visit, operations, task)
            if units:
                self._finished("roundings", visit.index)

    def _round(self, visit: Visit, operations: list[WeightedOperation], task: Task) -> None:
        """One unit: learned, then every rounding is decided."""
        layer = self.switches.unit == "layer"
        scales = {} if layer or self.switches.scale_steps else self.scales(visit)
        unit = self._layer(visit, operations[0]) if layer else self.block(visit, operations, scales)
        self.losses[unit.name] = learn(unit, self.config, task)
        for site, rounding in unit.roundings.items():
            self.model.rounded_weights[site] = rounding.hard()
        self._settle(scales)

    def _scale_stage(self, done: int, task: Task) -> None:
        """BRECQ's second stage: scales alone, block by block, from full-precision inputs to full-precision outputs."""
        for visit in walk(self.model, self.images, self.context, batch=self.config.batch, full=True, quantized=False):
            if visit.index < done:
                task.advance(self.switches.scale_steps)
                continue
            index, scales = visit.index, self.scales(visit)
            generator = self.context.generator(f"reconstruction/scales/{index}")

            def output(images: Tensor, visit: Visit = visit, scales: dict[str, Tensor] = scales) -> Tensor:
                install_scales(self.model, scales)
                with self._products():
                    return self.model.run(visit.full.select(images), visit.index, visit.index + 1).float()

            loss, steps = partial(power, exponent=self.switches.scale_power), self.switches.scale_steps
            learned, rate = list(scales.values()), self.switches.scale_lr
            unit = Unit(visit.segment.name, output, visit.targets, loss, generator, steps, scales=learned, scale_lr=rate)
            self.losses[f"{unit.name} (scales)"] = learn(unit, self.config, task)
            self._settle(scales)
            self._finished("scales", index)

    def block(self, visit: Visit, operations: list[WeightedOperation], scales: dict[str, Tensor]) -> Unit:
        """One block against its output in full precision; its scales are learned with its roundings."""
        index = visit.index
        roundings = {operation.site.name: self._rounding(operation) for operation in operations}
        generator = self.context.generator(f"reconstruction/{index}")
        masks = on_device(generator, self.images.device)
        drop = (self.switches.drop, masks) if self.switches.drop else None

        def present(x: Tensor) -> Tensor:
            install_scales(self.model, scales)
            with self.model.learning({site: one.soft() for site, one in roundings.items()}, drop), self._products():
                return self.model.run(x, index, index + 1).float()

        return Unit(
            visit.segment.name,
            lambda images: present(self._inputs(visit, images, masks)),
            visit.targets,
            self._loss(visit, present),
            generator,
            self.config.iterations,
            roundings,
            list(scales.values()),
            self.switches.scale_lr,
        )

    def _layer(self, visit: Visit, operation: WeightedOperation) -> Unit:
        """One layer against its own output in full precision."""
        budget, size = self.context.budget, self.config.batch
        # One layer's inputs of all images are in memory together for a moment: batches of one product may round otherwise.
        exact = torch.cat(list(visit.reads(operation, quantize=False)))
        with torch.no_grad():
            target = operation.function(exact, operation.present_weight, operation.transformed_bias())
        quantizer = self.model.quantizers.get(operation.operand)
        if self.switches.inputs == "full":
            inputs = budget.keep(x if quantizer is None else quantizer(x) for x in exact.split(size))
        else:
            inputs = budget.keep(visit.reads(operation, quantize=True))
        rounding = self._rounding(operation)

        def output(images: Tensor) -> Tensor:
            with self._products():
                return operation.function(inputs.select(images), rounding.soft(), operation.shifted_bias()).float()

        name = operation.site.name
        generator = self.context.generator(f"reconstruction/{name}")
        kept = budget.keep(target.split(size))
        return Unit(name, output, kept, mse, generator, self.config.iterations, {name: rounding})

    def _products(self) -> torch.autocast:
        """In which precision the products of what is learned run."""
        return torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _rounding(self, operation: WeightedOperation) -> SoftRounding:
        name = operation.site.name
        quantizer = required(Affine, self.model.quantizers[name], name, "reconstruction")
        return SoftRounding(operation.present_weight, quantizer)

    def scales(self, visit: Visit) -> dict[str, Tensor]:
        """Activation scales of a segment that are learned."""
        if not self.switches.scale_lr:
            return {}
        return {
            name: self.model.quantizers[name].learnable_scales.clone().requires_grad_(True)
            for name in visit.segment.sites
            if has_learnable_scale(self.model, name)
        }

    @torch.no_grad()
    def _settle(self, scales: dict[str, Tensor]) -> None:
        """Learned scales as plain numbers, positive."""
        install_scales(self.model, {site: scale.detach().abs().clamp_min(EPSILON) for site, scale in scales.items()})

    def _inputs(self, visit: Visit, images: Tensor, generator: torch.Generator) -> Tensor:
        """What a block reads."""
        if self.switches.inputs == "full":
            return visit.full.select(images)
        quantized = visit.quantized.select(images)
        if self.switches.inputs == "quantized":
            return quantized
        full = visit.full.select(images)
        return torch.where(drawn(full.shape, self.switches.drop, generator).to(full.device), full, quantized)

    def _loss(self, visit: Visit, present: Callable[[Tensor], Tensor]) -> Loss:
        """What a block's output is compared by; the last one of some by the divergence of the logits."""
        name, last = self.switches.loss, visit.index == len(self.model.segments) - 1
        if last and name in BY_DIVERGENCE:
            return started_at_two(divergence) if name == "aphq" else divergence
        if name == "fisher":
            return fisher(self.context.budget.keep(self.gradients.at(visit)))
        if name == "aphq":
            return started_at_two(weighted(perturbation_curvature(self.gradients, visit)))
        if name == "fima":
            rank = self.switches.rank
            measure = partial(fima_pair, self.gradients, visit, present)
            return Fima(measure, rank, max(self.config.iterations // rank, 1))
        if name == "lsvit":
            return started_at_two(LeastSquares(self.gradients, visit, present))
        return tenth if name == "tenth" else mse
