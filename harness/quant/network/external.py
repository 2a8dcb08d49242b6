"""A network that another library quantized, evaluated in the place of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass(frozen=True)
class ExternalSite:
    """What the library did at one of our sites.

    Attributes:
        bits: Width of the codes.
        granularity: Scales per ``tensor``, per ``channel`` or per ``group``.
        scales: Number of scales.
        zero_points: Number of zero points; 0 for symmetric codes.
    """

    bits: int
    granularity: str
    scales: int
    zero_points: int = 0


@dataclass(frozen=True)
class External:
    """Another library's result.

    Attributes:
        library: Name and version.
        network: Takes images, gives logits.
        sites: What is quantized, by the names of our sites: from these come coverage, size and bit-operations.
        weights: Quantized weights as the network uses them, by site, for the check of the integer grid.
    """

    library: str
    network: nn.Module
    sites: Mapping[str, ExternalSite]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
