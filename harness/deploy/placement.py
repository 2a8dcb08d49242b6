"""What is computed with integers and what is not, site by site and product by product, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.deploy.kernels import Kernels
from harness.deploy.paths import node_sites
from harness.graph.sites import Place
from harness.quant.format.affine import Affine
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.network.qmodel import QuantizedModel

FACTORS = "a factor per channel is multiplied behind its codes"
BESIDE = "zero is no code, so a constant is added behind its codes"


def site_rows(model: QuantizedModel, kernels: Kernels) -> list[dict[str, Any]]:
    """Every quantized site: its codes, and whether what reads them computes with integers."""
    reading = _reading(model)
    return [
        {
            "site": name,
            "bits": model.quantizers[name].bits,
            "format": model.quantizers[name].name,
            "stored": _stored(model, name),
            **_arithmetic(model, name, reading.get(name, []), kernels),
        }
        for name in model.sites
        if name in model.quantizers
    ]


def _reading(model: QuantizedModel) -> dict[str, list[str]]:
    """The products that read the codes of each site."""
    sites = node_sites(model)
    found: dict[str, list[str]] = {}
    for cost in (cost for segment in model.segments for cost in segment.costs):
        for passed in cost.operands:
            quantized = [name for name in passed if name in model.quantizers]
            if quantized:
                found.setdefault(quantized[0], []).append(sites[cost.node])
    return found


def _arithmetic(model: QuantizedModel, name: str, products: list[str], kernels: Kernels) -> dict[str, str]:
    floats = [product for product in products if product not in kernels.integer]
    if products and not floats:
        return {"arithmetic": "integer", "why": ""}
    if floats:
        return {"arithmetic": "float", "why": f"{', '.join(floats)} has no integer kernel"}
    read = ", ".join(sorted(model.sites[name].feeds)) or "nothing"
    return {"arithmetic": "float", "why": f"no product reads it: {read}"}


def _stored(model: QuantizedModel, name: str) -> str:
    site, quantizer = model.sites[name], model.quantizers[name]
    if site.place is Place.PARAMETER:
        offset = ", an offset per channel times the sum of the input" if quantizer.correction else ""
        return f"int8 codes, a scale per channel{offset}"
    if site.place is Place.CONSTANT:
        return "int8 codes"
    return f"uint8 codes, {why}" if (why := _obstacle(model, name)) else "uint8 codes"


def _obstacle(model: QuantizedModel, name: str) -> str:
    """Why a product that reads this site cannot take its codes as they are; empty where it can."""
    quantizer = model.quantizers[name]
    if isinstance(quantizer, PowerOfTwo):
        return FACTORS
    low, high = quantizer.code_range if isinstance(quantizer, Affine) else (0, 0)
    inside = isinstance(quantizer, Affine) and bool(
        (quantizer.zero_point >= low).all() & (quantizer.zero_point <= high).all()
    )
    return "" if inside else BESIDE


def product_rows(model: QuantizedModel, kernels: Kernels, macs: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every product: its multiply-accumulates per image, the kernel that ran, and why it was not an integer one."""
    sites = node_sites(model)
    rows: list[dict[str, Any]] = []
    for segment in model.segments:
        for cost in segment.costs:
            name = sites[cost.node]
            integer = name in kernels.integer
            why = "" if integer else _reason(model, cost.operands)
            rows.append(
                {
                    "product": name,
                    "macs": cost.macs,
                    "arithmetic": "integer" if integer else "float",
                    "kernel": kernels.products[name],
                    "why": why,
                }
            )
    beside = [name for name in macs if name not in kernels.products]
    rows += [
        {"product": name, "macs": macs[name], "arithmetic": "float", "kernel": "", "why": "a linear layer beside a block"}
        for name in beside
    ]
    return rows


def _reason(model: QuantizedModel, operands: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """Why a product has no integer kernel."""
    for passed in operands:
        quantized = [name for name in passed if name in model.quantizers]
        if not quantized:
            return f"{passed[0] if passed else 'an operand'} has no quantizer"
        why = _obstacle(model, quantized[0]) if model.sites[quantized[0]].place is not Place.PARAMETER else ""
        if why:
            return f"{quantized[0]}: {why}"
    return "the runtime has no integer kernel for it here"
