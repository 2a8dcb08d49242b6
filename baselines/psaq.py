"""PSAQ-ViT: calibration images made from noise by what the network's attention sees in them (Li et al., ECCV 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from harness.calibration import CalibrationSource
from harness.data.preprocessing import Preprocessing
from harness.errors import CaptureError
from harness.graph.operations import Kind
from harness.method import Context
from harness.progress import Task
from harness.quant.operators import MatMul
from harness.quant.qmodel import QuantizedModel
from harness.registry import Role, register

# The targets of the total variation belong to 32 images of 3 x 224 x 224 values; norms grow with the root of their number.
REFERENCE_VALUES = 32 * 3 * 224 * 224
REFERENCE_SIZE = 224
DENSITY_FLOOR = 1e-4
JITTER = (15, 30)  # pixels of 224, in the first and in the second phase


@dataclass(frozen=True)
class PsaqConfig:
    """Settings of ``psaq``."""

    iterations: Annotated[int, Field(ge=1, description="steps in each of the two phases")] = 500
    batch: Annotated[int, Field(ge=1, description="images made together")] = 32
    lr: Annotated[float, Field(gt=0, description="learning rate of Adam; the released code takes 0.25 for Swin")] = 0.2
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of a phase in which the learning rate rises")] = 0.2
    points: Annotated[int, Field(ge=2, description="points of the density of similarities")] = 10
    bandwidth: Annotated[float, Field(gt=0, description="width of the density's kernel")] = 0.01
    one_hot: Annotated[float, Field(ge=0, description="weight of the cross entropy with random classes")] = 1.0
    variation: Annotated[float, Field(ge=0, description="weight of the distance from the wanted total variation")] = 0.05
    variation_low: Annotated[float, Field(ge=0, description="least wanted total variation of 32 images of 224 x 224")] = (
        2500.0
    )
    variation_high: Annotated[float, Field(ge=0, description="largest one; each batch draws its own in between")] = 3000.0


@register(
    "psaq",
    role=Role.SOURCE,
    version=1,
    paper="Li et al., Patch Similarity Aware Data-Free Quantization for Vision Transformers, ECCV 2022",
)
class Psaq(CalibrationSource[PsaqConfig]):
    """Learn images from noise: diverse patch similarities, a random class, natural total variation."""

    Config = PsaqConfig

    def images(self, model: QuantizedModel, count: int, preprocessing: Preprocessing, context: Context) -> Tensor:
        """Make images batch by batch.

        Raises:
            CaptureError: The network has no attention, so there are no patches to compare.
        """
        attention = _attention_outputs(model)
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


def _attention_outputs(model: QuantizedModel) -> list[MatMul]:
    """The products of attention probabilities with values."""
    products = [module for segment in model.segments for module in segment.module.modules() if isinstance(module, MatMul)]
    return [product for product in products if model.sites[product.left.name].kind is Kind.SOFTMAX]


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
        self.model = model
        self.attention = attention
        self.config = config
        self.generator = generator
        shape = (size, *preprocessing.input_size)
        self.pixels = torch.randn(shape, generator=generator).to(model.device)
        black, white = (preprocessing.normalise(torch.full((1, shape[1], 1, 1), end)) for end in (0.0, 1.0))
        self.black, self.white = black.to(model.device), white.to(model.device)
        with torch.no_grad():
            classes = model.full_precision(self.pixels[:1]).shape[1]
        self.labels = torch.randint(classes, (size,), generator=generator).to(model.device)
        wanted = config.variation_low + (config.variation_high - config.variation_low) * self._uniform()
        self.variation = wanted * math.sqrt(self.pixels.numel() / REFERENCE_VALUES)
        self.losses: list[dict[str, float]] = []

    def learn(self, task: Task) -> Tensor:
        """Both phases; returns the images."""
        pixels = self.pixels.requires_grad_(True)
        optimizer = torch.optim.Adam([pixels], lr=self.config.lr, betas=(0.5, 0.9), eps=1e-8)
        steps = self.config.iterations
        for jitter in JITTER:
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = self.config.lr * self._rate(step)
                with torch.enable_grad():
                    parts = self._losses(self._moved(pixels, jitter))
                    optimizer.zero_grad()
                    torch.stack(list(parts.values())).sum().backward()
                optimizer.step()
                with torch.no_grad():
                    pixels.copy_(torch.minimum(torch.maximum(pixels, self.black), self.white))
                if step in (0, steps - 1):
                    self.losses.append({name: round(value.item(), 4) for name, value in parts.items()})
                task.advance()
        return pixels.detach()

    def _losses(self, images: Tensor) -> dict[str, Tensor]:
        """The weighted parts of the loss (Eq. 9)."""
        with _kept_outputs(self.attention) as outputs:
            logits = self.model.run_full_precision(images)
        entropy = torch.stack([self._entropy(output) for output in outputs]).sum()
        distance = (total_variation(images) - self.variation).abs()
        return {
            "patch_similarity": -entropy,
            "one_hot": self.config.one_hot * F.cross_entropy(logits, self.labels),
            "variation": self.config.variation * distance,
        }

    def _entropy(self, output: Tensor) -> Tensor:
        similarity = patch_similarity(output)
        return differential_entropy(similarity.flatten(1), self.config.points, self.config.bandwidth)

    def _moved(self, images: Tensor, jitter: int) -> Tensor:
        """Rolled by the same random offset in both directions, and mirrored every other time."""
        limit = max(1, round(jitter * images.shape[-1] / REFERENCE_SIZE))
        offset = int(torch.randint(-limit, limit + 1, (1,), generator=self.generator))
        moved = torch.roll(images, (offset, offset), (2, 3))
        return moved.flip(3) if self._uniform() < 0.5 else moved

    def _rate(self, step: int) -> float:
        """Share of the learning rate: linear warm-up, then a cosine."""
        warmup = round(self.config.warmup * self.config.iterations)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.config.iterations - warmup)))

    def _uniform(self) -> float:
        return float(torch.rand(1, generator=self.generator))


@contextmanager
def _kept_outputs(modules: list[MatMul]) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def patch_similarity(output: Tensor) -> Tensor:
    """Cosine similarity of patches: tokens of the attention output, averaged over heads (Eq. 4 and 5).

    Tokens beyond the largest square number (class and distillation tokens come first) are left out.

    Args:
        output: ``(n, heads, tokens, channels)``, or without heads.

    Returns:
        ``(n, patches, patches)``.
    """
    tokens = F.normalize(output.mean(dim=1) if output.ndim == 4 else output, dim=-1)
    patches = math.isqrt(tokens.shape[1]) ** 2
    kept = tokens[:, tokens.shape[1] - patches :]
    return kept @ kept.transpose(1, 2)


def differential_entropy(values: Tensor, points: int, bandwidth: float) -> Tensor:
    """Differential entropy of each row: Gaussian kernel density, integrated by trapezoids; the mean over rows (Eq. 6, 7).

    Args:
        values: ``(n, samples)``.
        points: Number of points between the least and the largest value.
        bandwidth: Standard deviation of the kernel.
    """
    low, high = values.detach().aminmax()
    places = torch.linspace(float(low), float(high), points, device=values.device)
    kernel = [torch.exp(-(place - values).square() / (2 * bandwidth**2)).mean(dim=1) for place in places]
    density = torch.stack(kernel, dim=1) / (bandwidth * math.sqrt(2 * math.pi)) + DENSITY_FLOOR
    return torch.trapezoid(-density * density.log(), places, dim=1).mean()


def total_variation(images: Tensor) -> Tensor:
    """Sum of the norms of differences to neighbours in four directions, over all images ``(n, c, h, w)``."""
    right = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    falling = images[..., 1:, 1:] - images[..., :-1, :-1]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    return torch.stack([part.norm() for part in (right, down, falling, rising)]).sum()
