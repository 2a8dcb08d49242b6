"""PSAQ-ViT: calibration images made from noise by what the network's attention sees in them (Li et al., ECCV 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from harness.baselines.engines.synthesis import Canvas, SynthesisConfig, attention_outputs
from harness.data.preprocessing import Preprocessing
from harness.errors import CaptureError
from harness.machine.progress import Task
from harness.method.base import Context
from harness.method.calibration_source import CalibrationSource
from harness.method.registration import Role, register
from harness.quant.network.operators import MatMul
from harness.quant.network.qmodel import QuantizedModel

JITTER = (15, 30)  # pixels of 224, in the first and in the second phase


@dataclass(frozen=True)
class PsaqConfig(SynthesisConfig):
    """Settings of ``psaq``."""

    iterations: Annotated[int, Field(ge=1, description="steps in each of the two phases")] = 500
    batch: Annotated[int, Field(ge=1, description="images made together")] = 32
    lr: Annotated[float, Field(gt=0, description="learning rate of Adam; the released code takes 0.25 for Swin")] = 0.2
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of a phase in which the learning rate rises")] = 0.2
    one_hot: Annotated[float, Field(ge=0, description="weight of the cross entropy with random classes")] = 1.0


@register(
    "psaq",
    role=Role.SOURCE,
    version=1,
    paper="Li et al., Patch Similarity Aware Data-Free Quantization for Vision Transformers, ECCV 2022",
)
class Psaq(CalibrationSource[PsaqConfig]):
    """Learn images from noise: diverse patch similarities, a random class, natural total variation."""

    Config = PsaqConfig
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 3}

    def images(self, model: QuantizedModel, count: int, preprocessing: Preprocessing, context: Context) -> Tensor:
        """Make images batch by batch.

        Raises:
            CaptureError: The network has no attention, so there are no patches to compare.
        """
        attention = attention_outputs(model)
        if not attention:
            raise CaptureError(
                f"psaq needs attention, {model.name} has none", "use the data's own images: --calib-source data"
            )
        batches, losses = math.ceil(count / self.config.batch), []
        made = []
        with context.progress.task("psaq", 2 * self.config.iterations * batches) as task:
            for batch in range(batches):
                size = min(self.config.batch, count - batch * self.config.batch)
                run = _Batch(model, attention, preprocessing, self.config, context.generator(f"psaq/{batch}"), size)
                made.append(run.learn(task))
                losses.append(run.losses)
        context.notes["losses"] = losses
        return torch.cat(made)


class _Batch:
    """Images that are learned together."""

    def __init__(
        self,
        model: QuantizedModel,
        attention: list[MatMul],
        preprocessing: Preprocessing,
        config: PsaqConfig,
        generator: torch.Generator,
        size: int,
    ) -> None:
        self.config = config
        noise = torch.randn((size, *preprocessing.input_size), generator=generator).to(model.device)
        ends = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, noise.shape[1], 1, 1)
        black, white = preprocessing.normalise(ends).to(model.device).split(1)
        with torch.no_grad():
            classes = model.full_precision(noise[:1]).shape[1]
        self.labels = torch.randint(classes, (size,), generator=generator).to(model.device)
        self.canvas = Canvas(model, attention, noise, (black, white), config, generator)
        self.losses: list[dict[str, float]] = []

    def learn(self, task: Task) -> Tensor:
        """Both phases; returns the images."""
        canvas, steps = self.canvas, self.config.iterations
        optimizer = torch.optim.Adam([canvas.pixels], lr=self.config.lr, betas=(0.5, 0.9), eps=1e-8)
        for jitter in JITTER:
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = self.config.lr * self._rate(step)
                with torch.enable_grad():
                    parts = self._losses(canvas.moved(jitter))
                    optimizer.zero_grad()
                    torch.stack(list(parts.values())).sum().backward()
                optimizer.step()
                canvas.clip()
                if step in (0, steps - 1):
                    self.losses.append({name: round(value.item(), 4) for name, value in parts.items()})
                task.advance()
        return canvas.pixels.detach()

    def _losses(self, images: Tensor) -> dict[str, Tensor]:
        """The weighted parts of the loss (Eq. 9)."""
        priors, logits = self.canvas.priors(images)
        return {**priors, "one_hot": self.config.one_hot * F.cross_entropy(logits, self.labels)}

    def _rate(self, step: int) -> float:
        """Share of the learning rate: linear warm-up, then a cosine."""
        warmup = round(self.config.warmup * self.config.iterations)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.config.iterations - warmup)))
