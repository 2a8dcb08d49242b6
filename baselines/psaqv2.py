"""PSAQ-ViT V2: images that make the quantized network fail, and the network learning from them (Li et al., TNNLS 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.engines.activation_scales import has_learnable_scale, install_scales
from harness.baselines.engines.synthesis import Canvas, SynthesisConfig, attention_outputs
from harness.data.sets import CalibrationSet
from harness.errors import CaptureError
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.format.affine import Affine
from harness.quant.format.arithmetic import along
from harness.quant.format.base import required
from harness.quant.network.qmodel import QuantizedModel


@dataclass(frozen=True)
class Psaqv2Config(SynthesisConfig):
    """Settings of ``psaqv2``; the released code that we have seen is version 1: step counts and rates are this project's."""

    rounds: Annotated[int, Field(ge=0, description="how often images and network take turns")] = 20
    image_steps: Annotated[int, Field(ge=0, description="steps of the images in each round; 0 leaves them as they are")] = 5
    student_steps: Annotated[int, Field(ge=1, description="steps of the network in each round")] = 10
    images: Annotated[int, Field(ge=1, description="calibration images that the game starts from")] = 32
    batch: Annotated[int, Field(ge=1, description="images per step")] = 32
    discrepancy: Annotated[float, Field(ge=0, description="weight of the divergence that images maximise")] = 1.0
    image_lr: Annotated[float, Field(gt=0, description="learning rate of pixels")] = 0.02
    weight_lr: Annotated[
        float, Field(ge=0, description="learning rate of weights, in steps of their quantizers; 0 leaves them alone")
    ] = 0.001
    scale_lr: Annotated[
        float, Field(ge=0, description="learning rate of the logarithm of activation scales; 0 leaves them alone")
    ] = 0.01
    jitter: Annotated[int, Field(ge=1, description="largest offset by which images are rolled, in pixels of 224")] = 30


@register(
    "psaqv2",
    role=Role.REFINE,
    needs=("scheme", "scales"),
    version=2,
    paper="Li et al., PSAQ-ViT V2: Toward Accurate and General Data-Free Quantization for Vision Transformers, TNNLS 2023",
)
class Psaqv2(Method[Psaqv2Config]):
    """Images maximise the divergence from full precision, the quantized network minimises it, in turns.

    The images start as the trial's calibration images: with ``--calib-source psaq`` no data is used at all.
    """

    Config = Psaqv2Config
    quick: ClassVar[Mapping[str, Any]] = {"rounds": 1, "image_steps": 1, "student_steps": 2}

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Play the game; learned weights are rounded onto their quantizers' grids at the end.

        Raises:
            CaptureError: The network has no attention, so there are no patches to compare.
        """
        config = self.config
        attention = attention_outputs(model)
        if not attention:
            raise CaptureError(f"psaqv2 needs attention, {model.name} has none", "reconstruct blocks instead: brecq, qdrop")
        start = calibration.images[: config.images].to(model.device)
        limits = start.amin((0, 2, 3), keepdim=True), start.amax((0, 2, 3), keepdim=True)
        generator = context.generator("psaqv2")
        parts = [Canvas(model, attention, part, limits, config, generator) for part in start.split(config.batch)]
        game = _Game(model, parts, config)
        with context.progress.task("psaqv2", config.rounds * (config.image_steps + config.student_steps)) as task:
            for _ in range(config.rounds):
                for _ in range(config.image_steps):
                    game.move_images()
                    task.advance()
                for _ in range(config.student_steps):
                    game.move_student()
                    task.advance()
        steps = config.student_steps
        ends = [(game.divergences[i], game.divergences[i + steps - 1]) for i in range(0, len(game.divergences), steps)]
        context.notes.update(
            divergence=[[round(float(value), 5) for value in pair] for pair in ends],  # first and last of each round
            learned_weights=len(game.student.weights),
            learned_scales=len(game.student.scales),
        )


class _Student:
    """What is learned of the quantized network: weights, and scales of activations.

    Attributes:
        weights: By site name, how many steps of its quantizer each weight is away from where it began.
        scales: By site name, logarithms of scales.
    """

    def __init__(self, model: QuantizedModel, config: Psaqv2Config) -> None:
        self.model = model
        names = [name for name in model.weights if name in model.quantizers] if config.weight_lr else []
        self.origins = {name: model.rounded_weights.get(name, model.weights[name].present_weight) for name in names}
        self.weights = {name: torch.zeros_like(weight).requires_grad_(True) for name, weight in self.origins.items()}
        learnable = [name for name in model.sites if has_learnable_scale(model, name)] if config.scale_lr else []
        self.scales = {name: model.quantizers[name].learnable_scales.log().requires_grad_(True) for name in learnable}
        groups = [(self.weights, config.weight_lr), (self.scales, config.scale_lr)]
        self.optimizer = (
            torch.optim.Adam([{"params": list(one.values()), "lr": lr} for one, lr in groups if one])
            if self.weights or self.scales
            else None
        )

    def learn(self, loss: Callable[[], Tensor]) -> Tensor:
        """One step on a loss of the network; returns its value."""
        if self.optimizer is None:
            return loss().detach()
        with torch.enable_grad():
            self._install()
            value = loss()
            self.optimizer.zero_grad()
            value.backward()
        self.optimizer.step()
        with torch.no_grad():
            self._install()
        return value.detach()

    def _install(self) -> None:
        """Put what is learned into the model; weights on their grids, with straight-through gradients while learning."""
        install_scales(self.model, {name: scale.exp() for name, scale in self.scales.items()})
        self.model.rounded_weights.update({name: self._rounded(name) for name in self.weights})

    def _rounded(self, name: str) -> Tensor:
        quantizer, origin = required(Affine, self.model.quantizers[name], name, "psaqv2"), self.origins[name]
        moved = origin + self.weights[name] * along(quantizer.scale, origin.ndim, quantizer.axis or 0)
        return quantizer.straight_through(moved)


class _Game:
    """Images against the quantized network.

    Attributes:
        divergences: What the network had to mend in each of its steps.
    """

    def __init__(self, model: QuantizedModel, parts: list[Canvas], config: Psaqv2Config) -> None:
        self.model = model
        self.parts = parts
        self.config = config
        self.student = _Student(model, config)
        self.painter = torch.optim.Adam([part.pixels for part in parts], lr=config.image_lr, betas=(0.5, 0.9))
        self.divergences: list[Tensor] = []

    def move_images(self) -> None:
        """One step of all images towards natural ones on which both networks disagree."""
        self.painter.zero_grad()
        for part in self.parts:
            with torch.enable_grad():
                images = part.moved(self.config.jitter)
                priors, teacher = part.priors(images)
                disagreement = self.config.discrepancy * divergence(teacher, self.model.run(images))
                (torch.stack(list(priors.values())).sum() - disagreement).backward()
        self.painter.step()
        for part in self.parts:
            part.clip()

    def move_student(self) -> None:
        """One step of the network towards full precision, on the next batch of images."""
        part = self.parts[len(self.divergences) % len(self.parts)]
        with torch.no_grad():
            images = part.moved(self.config.jitter)
            teacher = self.model.full_precision(images)
        self.divergences.append(self.student.learn(lambda: divergence(teacher, self.model.run(images))))


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Kullback-Leibler divergence of predictions, mean over images.

    Args:
        teacher: Full-precision logits ``(n, classes)``.
        student: Quantized logits.
    """
    return F.kl_div(F.log_softmax(student, 1), F.log_softmax(teacher, 1), reduction="batchmean", log_target=True)
