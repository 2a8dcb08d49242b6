"""Rotation: turn the residual stream and attention heads so that no channel stands out (Ashkboos et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.baselines.engines.orthogonal import Form, keeping_means, orthogonal
from harness.baselines.engines.turning import Turning
from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.graph.bases import bases_of
from harness.graph.heads import HeadPair, head_pairs
from harness.graph.streams import Stream, streams_of
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.qmodel import QuantizedModel

INSTEAD = "use smoothquant behind a scheme, which changes norms and weights inside blocks only"


@dataclass(frozen=True)
class RotateConfig:
    """Settings of ``rotate``."""

    matrix: Annotated[
        Form,
        Field(
            description="the residual stream's matrix: a Hadamard matrix with drawn signs (blocks where its size has none), "
            "blocks of one, or a random orthogonal one"
        ),
    ] = "hadamard"
    block: Annotated[int, Field(ge=2, description="matrix=block: largest size of a block, a power of two")] = 64
    norm: Annotated[
        Literal["rms", "layer"],
        Field(
            description="norms of the stream: RMSNorm, with means taken out where the stream is written, or LayerNorm, with "
            "a matrix that keeps means. Where tokens are normalised together (patch merging) it is layer"
        ),
    ] = "rms"
    signs: Annotated[
        Literal["drawn", "aligned"],
        Field(
            description="signs of the stream's channels behind an RMSNorm: as drawn, or such that their means over the "
            "calibration images are positive: codes with a zero point then need half of the range"
        ),
    ] = "drawn"
    batch: Annotated[int, Field(ge=1, description="signs=aligned: calibration images per pass")] = 32
    heads: Annotated[
        Literal["none", "values", "all"],
        Field(description="matrices of attention heads: none, of values, or also of queries with keys"),
    ] = "values"


@register(
    "rotate",
    role=Role.TRANSFORM,
    version=1,
    paper="Ashkboos et al., QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs, NeurIPS 2024",
)
class Rotate(Method[RotateConfig]):
    """Turn the residual stream and the values of attention by orthogonal matrices folded into weights; comes first."""

    Config = RotateConfig

    @torch.no_grad()
    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """Needs images for ``signs=aligned`` only; does nothing where nothing is quantized.

        Raises:
            IncompatibleError: No residual stream of the network can be turned exactly.
        """
        if context.bits.full_precision:
            return
        bases = bases_of(model.chain.captured)
        streams = streams_of(bases)
        _check(model, streams)
        aligned = self.config.signs == "aligned"
        means = stream_means(model, streams, calibration.batches(self.config.batch)) if aligned else {}
        turning = Turning(model)
        generator = context.generator("rotate")
        for stream in streams:
            if not stream.reason:
                self._stream(turning, stream, generator, means.get(stream.name))
        pairs = [pair for pair in head_pairs(bases) if self._takes(pair)]
        for pair in pairs:
            matrices = self._of_heads(pair, generator)
            turning.heads(pair.first, matrices)
            turning.heads(pair.second, matrices)
        turning.write()
        context.notes["streams"] = {stream.name: stream.reason or "turned" for stream in streams}
        context.notes["rms_norms"], context.notes["turned_heads"] = len(model.edits.rms_norms), len(pairs)

    def _stream(self, turning: Turning, stream: Stream, generator: torch.Generator, mean: Tensor | None) -> None:
        matrix = orthogonal(self.config.matrix, stream.width, self.config.block, generator)
        single = not stream.readers and all(norm.copies == 1 for norm in stream.norms)
        rms = self.config.norm == "rms" and single
        if rms and mean is not None:
            matrix = matrix * torch.where(mean @ matrix < 0, -1.0, 1.0)
        turning.stream(stream, matrix if rms else keeping_means(matrix), rms=rms)

    def _takes(self, pair: HeadPair) -> bool:
        return self.config.heads == "all" or pair.kind == self.config.heads

    def _of_heads(self, pair: HeadPair, generator: torch.Generator) -> Tensor:
        """A matrix for each head, ``(heads, channels, channels)``."""
        heads, size = pair.first.channels.shape
        form, block = self.config.matrix, self.config.block
        return torch.stack([orthogonal(form, size, block, generator) for _ in range(heads)])


def stream_means(model: QuantizedModel, streams: list[Stream], batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mean over tokens of what the norms of each stream read, without the tokens' own means, summed over norms.

    Args:
        model: A network that is not turned yet.
        streams: Its streams; norms that read several tokens together are left out.
        batches: Images.

    Returns:
        ``(width,)`` by the stream's name, float64 on the CPU.
    """
    sites = {model.layer_norms[norm.node][0]: stream.name for stream in streams for norm in stream.norms if norm.copies == 1}
    means = {stream.name: torch.zeros(stream.width, dtype=torch.float64) for stream in streams}

    def watch(name: str, x: Tensor) -> None:
        if name in sites:
            tokens = x.movedim(model.sites[name].axis, -1).flatten(0, -2).double()
            means[sites[name]] += (tokens - tokens.mean(1, keepdim=True)).sum(0).cpu()

    for images in batches:
        model.observe(images, watch)
    return means


def _check(model: QuantizedModel, streams: list[Stream]) -> None:
    """Refuse a network without a stream that can be turned."""
    if any(not stream.reason for stream in streams):
        return
    if not streams:
        raise IncompatibleError(f"rotate: {model.name} has no residual stream that is read through a LayerNorm", INSTEAD)
    first = streams[0]
    raise IncompatibleError(
        f"rotate: no residual stream of {model.name} can be turned exactly; that of {first.name}: {first.reason}", INSTEAD
    )
