"""Images learned from a network alone: what PSAQ-ViT and its second version share (Li et al. 2022, 2023)."""

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

from harness.graph.operations import Kind
from harness.quant.network.operators import MatMul
from harness.quant.network.qmodel import QuantizedModel

# The targets of the total variation belong to 32 images of 3 x 224 x 224 values; norms grow with the root of their number.
REFERENCE_VALUES = 32 * 3 * 224 * 224
REFERENCE_SIZE = 224
DENSITY_FLOOR = 1e-4


@dataclass(frozen=True)
class SynthesisConfig:
    """Settings of everything that learns images."""

    points: Annotated[int, Field(ge=2, description="points of the density of similarities")] = 10
    bandwidth: Annotated[float, Field(gt=0, description="width of the density's kernel")] = 0.01
    variation: Annotated[float, Field(ge=0, description="weight of the distance from the wanted total variation")] = 0.05
    variation_low: Annotated[float, Field(ge=0, description="least wanted total variation of 32 images of 224 x 224")] = (
        2500.0
    )
    variation_high: Annotated[float, Field(ge=0, description="largest one; each batch draws its own in between")] = 3000.0


class Canvas:
    """Images that are learned together, and what they should be like whatever they are for.

    Args:
        model: The network; its full-precision side looks at the images.
        attention: Its ``attention_outputs``.
        start: First images ``(n, c, h, w)``; not changed.
        limits: Least and largest values of pixels, broadcasting against ``start``.
        config: Settings.
        generator: Draws the wanted total variation, and how images are moved.
    """

    def __init__(
        self,
        model: QuantizedModel,
        attention: list[MatMul],
        start: Tensor,
        limits: tuple[Tensor, Tensor],
        config: SynthesisConfig,
        generator: torch.Generator,
    ) -> None:
        self.model = model
        self.config = config
        self.generator = generator
        self.attention = attention
        self.pixels = start.clone().requires_grad_(True)
        self.limits = limits
        wanted = config.variation_low + (config.variation_high - config.variation_low) * self.uniform()
        self.variation = wanted * math.sqrt(start.numel() / REFERENCE_VALUES)

    def moved(self, jitter: int) -> Tensor:
        """The images rolled by the same random offset in both directions, and mirrored every other time.

        Args:
            jitter: Largest offset, in pixels of 224.
        """
        limit = max(1, round(jitter * self.pixels.shape[-1] / REFERENCE_SIZE))
        offset = int(torch.randint(-limit, limit + 1, (1,), generator=self.generator))
        moved = torch.roll(self.pixels, (offset, offset), (2, 3))
        return moved.flip(3) if self.uniform() < 0.5 else moved

    def priors(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Weighted losses of patch similarity and total variation, and full-precision logits ``(n, classes)``."""
        with _kept_outputs(self.attention) as outputs:
            logits = self.model.run_full_precision(images)
        entropy = torch.stack([self._entropy(output) for output in outputs]).sum()
        distance = (total_variation(images) - self.variation).abs()
        return {"patch_similarity": -entropy, "variation": self.config.variation * distance}, logits

    def _entropy(self, output: Tensor) -> Tensor:
        similarity = patch_similarity(output)
        return differential_entropy(similarity.flatten(1), self.config.points, self.config.bandwidth)

    @torch.no_grad()
    def clip(self) -> None:
        """Bring pixels back into their range."""
        self.pixels.copy_(torch.minimum(torch.maximum(self.pixels, self.limits[0]), self.limits[1]))

    def uniform(self) -> float:
        """A random number between 0 and 1."""
        return float(torch.rand(1, generator=self.generator))


def attention_outputs(model: QuantizedModel) -> list[MatMul]:
    """The products of attention probabilities with values; without any there are no patches to compare."""
    products = [module for segment in model.segments for module in segment.module.modules() if isinstance(module, MatMul)]
    return [product for product in products if model.sites[product.left.name].kind is Kind.SOFTMAX]


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
    """Cosine similarity of patches: tokens of the attention output, averaged over heads (PSAQ-ViT, Eq. 4 and 5).

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
