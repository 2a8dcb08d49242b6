"""Which module of the exported network belongs to which site."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from harness.graph.sites import Place
from harness.quant.network import operators
from harness.quant.network.qmodel import QuantizedModel

Product = operators.WeightedOperation | operators.MatMul
PREFIX = "op_"  # of modules that the chain names after the graph's node


def operation_paths(model: QuantizedModel) -> dict[str, str]:
    """Value sites of products by the path of the module that computes them."""
    return {path: site for path, site, _ in _products(model)}


def products(model: QuantizedModel) -> dict[str, Product]:
    """The products by the value site behind them, in execution order."""
    return {site: module for _, site, module in _products(model)}


def quantizer_paths(model: QuantizedModel) -> dict[str, str]:
    """Sites by the path of their quantizer's module."""
    found: dict[str, str] = {}
    for path, module in _modules(model):
        if isinstance(module, operators.Tap):
            found[path] = module.site.name
        elif isinstance(module, operators.WeightedOperation):
            found[f"{path}.read"] = module.operand
        elif isinstance(module, operators.MatMul):
            found |= {f"{path}.left": module.left.name, f"{path}.right": module.right.name}
    return found


def node_sites(model: QuantizedModel) -> dict[str, str]:
    """Names of value sites by the graph node that computes them."""
    return {site.source: name for name, site in model.sites.items() if site.place is Place.VALUE}


def _products(model: QuantizedModel) -> Iterator[tuple[str, str, Product]]:
    sites = node_sites(model)
    for path, module in _modules(model):
        if isinstance(module, Product):
            yield path, sites[path.rpartition(".")[2].removeprefix(PREFIX)], module


def _modules(model: QuantizedModel) -> Iterator[tuple[str, nn.Module]]:
    """The operations of the simulation, with the path of what stands in their place."""
    for number, segment in enumerate(model.segments):
        for name, module in segment.module.named_children():
            yield f"segments.{number}.{name}", module
