"""Which kernels a runtime really runs, and how much of a network's arithmetic is integer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.deploy.names import WITHIN
from harness.deploy.paths import node_sites, products
from harness.quant.network.qmodel import QuantizedModel

RENAMED = re.compile(r"_token_\d+$")  # what ONNX Runtime appends where it changes a layout


class Node(NamedTuple):
    """One node of the graph that a runtime really computes.

    Attributes:
        names: Names of the file's nodes that it stands for.
        kind: The runtime's name of its operation.
        integer: Whether it computes on integers.
    """

    names: tuple[str, ...]
    kind: str
    integer: bool


@dataclass(frozen=True)
class Kernels:
    """What a runtime made of a file.

    Attributes:
        counts: Number of nodes by operation.
        products: Operation of each product by its value site; empty where it was fused under another name.
        integer: Value sites of the products that run on integers.
        integer_macs: Share of all multiply-accumulates in integer kernels.
        integer_macs_of_layers: Likewise of those of linear operations and convolutions.
    """

    counts: Mapping[str, int]
    products: Mapping[str, str]
    integer: frozenset[str]
    integer_macs: float
    integer_macs_of_layers: float


def kernels(model: QuantizedModel, nodes: list[Node]) -> Kernels:
    """Count the kernels of an optimised graph.

    Args:
        model: The network that was exported.
        nodes: Of the optimised graph.
    """
    named = {RENAMED.sub("", name): node for node in nodes for name in node.names}
    fused = {name.partition(WITHIN)[0]: node for name, node in named.items()}  # under the name of the bias behind it
    found = {site: node for site in products(model) if (node := named.get(site, fused.get(site))) is not None}
    integer = {site for site, node in found.items() if node.integer}
    macs = multiply_accumulates(model)
    return Kernels(
        dict(sorted(Counter(node.kind for node in nodes).items())),
        {site: found[site].kind if site in found else "" for site in products(model)},
        frozenset(integer),
        _share(macs, integer, set(macs)),
        _share(macs, integer, _weighted(model)),
    )


def multiply_accumulates(model: QuantizedModel) -> dict[str, int]:
    """Multiply-accumulates per image of every product by its value site; linear layers beside blocks by the block's name."""
    sites = node_sites(model)
    found = {sites[cost.node]: cost.macs for segment in model.segments for cost in segment.costs}
    for segment in model.segments:
        if segment.name in model.compensations:
            weight, _ = model.compensations[segment.name]
            last = model.sites[[name for name in segment.sites if name in sites.values()][-1]]
            found[f"beside {segment.name}"] = last.elements * weight.shape[0]
    return found


def _weighted(model: QuantizedModel) -> set[str]:
    """Value sites of linear operations and convolutions."""
    sites = node_sites(model)
    return {sites[operation.node] for operation in model.weights.values()}


def _share(macs: Mapping[str, int], part: set[str], whole: set[str]) -> float:
    total = sum(macs[name] for name in whole)
    return sum(macs[name] for name in whole & part) / total if total else 0.0
