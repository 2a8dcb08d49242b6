"""Reconstruction of blocks or layers: learn how to round weights so that outputs come close to full precision.

One engine for AdaRound (Nagel et al. 2020), BRECQ (Li et al. 2021), QDrop (Wei et al. 2022) and FIMA-Q (Wu et al. 2025);
they differ in the unit, in what it reads, in the loss, and in whether activation scales are learned too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.data.sets import CalibrationSet
from harness.graph.sites import Place
from harness.machine.progress import Task
from harness.method.base import Context
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import EPSILON, along
from harness.quant.format.base import required
from harness.quant.format.uniform import Uniform
from harness.quant.network.operands import reads
from harness.quant.network.operators import WeightedOperation
from harness.quant.network.qmodel import QuantizedModel

# AdaRound's stretched sigmoid: h(V) = clip((ZETA - GAMMA) sigmoid(V) + GAMMA, 0, 1).
ZETA, GAMMA = 1.1, -0.1
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # output, target, indices of the images


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


class Rounding:
    """The soft rounding of one weight: ``s (clip(floor(W / s) + h(V) + z) - z)`` (AdaRound, Eq. 22 and 23).

    Args:
        weight: The weight before its quantizer.
        quantizer: Its calibrated quantizer; scale and zero point stay.
    """

    def __init__(self, weight: Tensor, quantizer: Affine) -> None:
        axis = quantizer.axis or 0
        self.scale = along(quantizer.scale.detach(), weight.ndim, axis)
        self.zero_point = along(quantizer.zero_point, weight.ndim, axis)
        self.low, self.high = quantizer.code_range
        position = weight / self.scale
        self.floor = position.floor()
        rest = (position - self.floor).clamp(1e-4, 1 - 1e-4)
        self.variable = (-torch.log((ZETA - GAMMA) / (rest - GAMMA) - 1)).requires_grad_(True)

    def up(self) -> Tensor:
        """How far each weight is rounded up, between 0 and 1."""
        return ((ZETA - GAMMA) * torch.sigmoid(self.variable) + GAMMA).clamp(0, 1)

    def soft(self) -> Tensor:
        """The weight while learning."""
        return self._dequantized(self.up())

    def hard(self) -> Tensor:
        """The weight with every rounding decided: on the quantizer's grid, at most one step from the weight."""
        return self._dequantized((self.variable.detach() >= 0).to(self.floor.dtype))

    def undecided(self, beta: float) -> Tensor:
        """``sum(1 - |2 h - 1|^beta)``: zero when every rounding is up or down."""
        return (1 - (2 * self.up() - 1).abs().pow(beta)).sum()

    def _dequantized(self, up: Tensor) -> Tensor:
        codes = (self.floor + up + self.zero_point).clamp(self.low, self.high)
        return (codes - self.zero_point) * self.scale


def reconstruct(
    model: QuantizedModel, calibration: CalibrationSet, context: Context, config: ReconstructionConfig, switches: Switches
) -> None:
    """Learn the rounding of every quantized weight, segment after segment; interruptible behind each of them.

    Args:
        model: A calibrated model.
        calibration: Images.
        context: The step's context.
        config: How to learn.
        switches: Which method it is.
    """
    run = _Run(model, calibration, context, config, switches)
    segments = [i for i in range(len(model.segments)) if run.weights_of(i)]
    units = sum(run.units_of(i) for i in segments)
    with context.progress.task("reconstruction", units * config.iterations) as task:
        run.all(segments, task)
    context.notes.update(units=units, losses=run.losses)


class _Run:
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

    def weights_of(self, index: int) -> list[str]:
        """Quantized weights of a segment."""
        return [operation.site.name for operation in self.model.quantized_weights(index)]

    def units_of(self, index: int) -> int:
        """Number of units a segment has."""
        return len(self.weights_of(index)) if self.switches.unit == "layer" else 1

    def all(self, segments: list[int], task: Task) -> None:
        """Segment after segment, from the last finished one after an interruption."""
        done = self._resume()
        full = quantized = self.images
        for index in range(len(self.model.segments)):
            target = self._forward(full, index, quantize=False)
            if index in segments and index >= done:
                self._segment(index, full, quantized, target, task)
                self.context.checkpoint.block_done(self.model, {"done": index + 1, "losses": self.losses}, {})
            elif index in segments:
                task.advance(self.units_of(index) * self.config.iterations)
            quantized = self._forward(quantized, index, quantize=True)
            full = target

    def _resume(self) -> int:
        kept = self.context.checkpoint.resume(self.model)
        if kept is None:
            return 0
        self.losses = kept[0]["losses"]
        return int(kept[0]["done"])

    @torch.no_grad()
    def _forward(self, x: Tensor, index: int, *, quantize: bool) -> Tensor:
        run = self.model.run if quantize else self.model.run_full_precision
        return torch.cat([run(part, index, index + 1) for part in x.split(self.config.batch)])

    def _segment(self, index: int, full: Tensor, quantized: Tensor, target: Tensor, task: Task) -> None:
        if self.switches.unit == "layer":
            for name in self.weights_of(index):
                self._layer(index, name, full, quantized, task)
            return
        roundings = {name: self._rounding(name) for name in self.weights_of(index)}
        scales = self._scales(index)
        generator = self.context.generator(f"reconstruction/{index}")
        drop = (self.switches.drop, generator) if self.switches.drop else None
        loss = self._loss(index, quantized, target)

        def output(here: Tensor) -> Tensor:
            x = self._inputs(full[here], quantized[here], generator)
            install_scales(self.model, scales)
            with self.model.learning({name: one.soft() for name, one in roundings.items()}, drop):
                return self.model.run(x, index, index + 1)

        name = self.model.segments[index].name
        self._learn(name, output, target, roundings, list(scales.values()), loss, generator, task)
        with torch.no_grad():
            found = {site: scale.detach().abs().clamp_min(EPSILON) for site, scale in scales.items()}
            install_scales(self.model, found)

    def _layer(self, index: int, name: str, full: Tensor, quantized: Tensor, task: Task) -> None:
        """One layer against its own output in full precision."""
        operation = self.model.weights[name]
        exact = self._reads(operation, full, index, quantize=False)
        quantizer = self.model.quantizers.get(operation.operand)
        if self.switches.inputs == "full":
            x = exact if quantizer is None else quantizer(exact)
        else:
            x = self._reads(operation, quantized, index, quantize=True)
        with torch.no_grad():
            target = operation.function(exact, operation.present_weight, operation.shifted_bias())
        rounding = self._rounding(name)

        def output(here: Tensor) -> Tensor:
            return operation.function(x[here], rounding.soft(), operation.shifted_bias())

        generator = self.context.generator(f"reconstruction/{name}")
        self._learn(name, output, target, {name: rounding}, [], _mse, generator, task)

    def _reads(self, operation: WeightedOperation, x: Tensor, index: int, *, quantize: bool) -> Tensor:
        return torch.cat(list(reads(self.model, operation, x.split(self.config.batch), index, quantize=quantize)))

    def _rounding(self, name: str) -> Rounding:
        quantizer = required(Affine, self.model.quantizers[name], name, "reconstruction")
        return Rounding(self.model.weights[name].present_weight, quantizer)

    def _scales(self, index: int) -> dict[str, Tensor]:
        """Activation scales of a segment that are learned."""
        if not self.switches.scale_lr:
            return {}
        return {
            name: self.model.quantizers[name].scale.clone().requires_grad_(True)
            for name in self.model.segments[index].sites
            if has_learnable_scale(self.model, name)
        }

    def _inputs(self, full: Tensor, quantized: Tensor, generator: torch.Generator) -> Tensor:
        """What a block reads."""
        if self.switches.inputs != "mixed":
            return quantized
        kept = torch.rand(full.shape, generator=generator).to(full.device) < self.switches.drop
        return torch.where(kept, full, quantized)

    def _learn(
        self,
        name: str,
        output: Callable[[Tensor], Tensor],
        target: Tensor,
        roundings: dict[str, Rounding],
        scales: list[Tensor],
        loss: Loss,
        generator: torch.Generator,
        task: Task,
    ) -> None:
        """Adam on the roundings (and scales), then every rounding is decided."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": [one.variable for one in roundings.values()], "lr": config.lr}]
        groups += [{"params": scales, "lr": self.switches.scale_lr}] if scales else []
        optimizer = torch.optim.Adam(groups)
        history: list[Tensor] = []
        for step in range(config.iterations):
            here = torch.randperm(len(target), generator=generator)[: config.batch].to(target.device)
            with torch.enable_grad():
                error = loss(output(here), target[here], here)
                total = error + self._regulariser(roundings, step)
                optimizer.zero_grad()
                total.backward()
            optimizer.step()
            if scales:  # cosine schedule of the scales alone
                optimizer.param_groups[1]["lr"] = self.switches.scale_lr * _cosine(step, config.iterations)
            if step in (0, config.iterations - 1):
                history.append(error.detach())
            task.advance()
        self.losses[name] = [float(one) for one in history]
        for site, rounding in roundings.items():
            self.model.rounded_weights[site] = rounding.hard()

    def _regulariser(self, roundings: dict[str, Rounding], step: int) -> Tensor | float:
        config = self.config
        begin = config.warmup * config.iterations
        if step < begin:
            return 0.0
        share = (step - begin) / max(config.iterations - begin, 1)
        beta = config.beta_end + (config.beta_start - config.beta_end) * max(0.0, 1 - share)
        return config.regulariser * torch.stack([one.undecided(beta) for one in roundings.values()]).sum()

    def _loss(self, index: int, quantized: Tensor, target: Tensor) -> Loss:
        if self.switches.loss == "mse":
            return _mse
        gradients = self._gradients(index, quantized)
        if self.switches.loss == "fisher":
            squares = gradients.square()
            squares *= len(squares) / squares.sum().clamp_min(1e-30) * target[0].numel()  # mean one: rate and term keep
            return lambda output, want, here: _mean((output - want).square() * squares[here])
        return Fima(self, index, quantized, target, gradients)

    def _gradients(self, index: int, quantized: Tensor) -> Tensor:
        """Gradient of KL(prediction of the network quantized up to here, full precision) by the segment's output."""
        parts = []
        for target, x in zip(self._predictions, quantized.split(self.config.batch), strict=True):
            with torch.no_grad():
                leaf = self.model.run(x, index, index + 1)
            with torch.enable_grad():
                leaf = leaf.clone().requires_grad_(True)
                last = index + 1 == len(self.model.segments)
                logits = F.log_softmax(leaf if last else self.model.run_full_precision(leaf, index + 1), dim=1)
                F.kl_div(logits, target, reduction="sum", log_target=True).backward()
            assert leaf.grad is not None
            parts.append(leaf.grad)
        return torch.cat(parts)

    @cached_property
    def _predictions(self) -> list[Tensor]:
        """Logarithmic class probabilities in full precision, batch by batch."""
        with torch.no_grad():
            return [F.log_softmax(self.model.run_full_precision(x), dim=1) for x in self.images.split(self.config.batch)]


class Fima:
    """FIMA-Q's loss: diagonal plus rank-k estimate of the Fisher information, each divided by its first value.

    Diagonal: ``dz^2 mean|g|``. Low rank: with k pairs ``G = mean|g|`` and ``D = mean|dz|``, ``a = |dz| G^T``, the loss is
    ``a (D D^T)^-1 a^T`` (Wu et al., CVPR 2025). The pairs are renewed at equal distances while learning.
    """

    def __init__(self, run: _Run, index: int, quantized: Tensor, target: Tensor, gradients: Tensor) -> None:
        self.run, self.index, self.quantized, self.target = run, index, quantized, target
        self.every = max(run.config.iterations // run.switches.rank, 1)
        self.step = 0
        self.first: tuple[Tensor, Tensor] | None = None
        self.gains: list[Tensor] = []
        self.moves: list[Tensor] = []
        self._add(gradients)

    def _add(self, gradients: Tensor) -> None:
        """One more pair, from the present state of the segment."""
        moved = self.run._forward(self.quantized, self.index, quantize=True) - self.target
        self.diagonal = gradients.abs().mean(0)
        self.gains.append(self.diagonal.flatten())
        self.moves.append(moved.abs().mean(0).flatten())
        gains, moves = torch.stack(self.gains), torch.stack(self.moves)
        damped = moves @ moves.T
        damped += 1e-6 * damped.diagonal().mean().clamp_min(1e-30) * torch.eye(len(moves), device=moves.device)
        self.gain, self.inverse = gains, torch.linalg.inv(damped)

    def __call__(self, output: Tensor, want: Tensor, here: Tensor) -> Tensor:
        """The loss of one batch."""
        self.step += 1
        if self.step % self.every == 0 and len(self.gains) < self.run.switches.rank:
            self._add(self.run._gradients(self.index, self.quantized))
        error = output - want
        diagonal = _mean(error.square() * self.diagonal)
        projected = error.abs().flatten(1) @ self.gain.T
        low_rank = ((projected @ self.inverse) * projected).sum(1).mean()
        if self.first is None:
            self.first = diagonal.detach().clamp_min(1e-30), low_rank.detach().abs().clamp_min(1e-30)
        loss: Tensor = diagonal / self.first[0] + low_rank / self.first[1]
        return loss


def has_learnable_scale(model: QuantizedModel, name: str) -> bool:
    """Whether a site holds a uniform quantizer of something other than a parameter: its scale can follow gradients."""
    return isinstance(model.quantizers.get(name), Uniform) and model.sites[name].place is not Place.PARAMETER


def install_scales(model: QuantizedModel, scales: dict[str, Tensor]) -> None:
    """Put scales into the quantizers of these sites; zero points stay. Gradients flow if they ask for them."""
    for name, scale in scales.items():
        model.quantizers[name] = replace(model.quantizers[name], scale=scale)


def _mean(error: Tensor) -> Tensor:
    """Sum over everything but images and positions, mean over these: what BRECQ's code calls the L2 loss."""
    channel = 1 if error.ndim == 4 else error.ndim - 1
    summed: Tensor = error.sum(dim=channel)
    return summed.mean()


def _mse(output: Tensor, want: Tensor, here: Tensor) -> Tensor:
    return _mean((output - want).square())


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / max(steps, 1)))))
