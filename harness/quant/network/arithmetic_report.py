"""Which products of a quantized network run on integer codes, which in floating point, and why."""

from __future__ import annotations

from typing import Literal

from harness.graph.operations import Kind
from harness.quant.network.arithmetic_rule import COMPUTED, switched_off
from harness.quant.network.operators import MatMul, WeightedOperation
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.record import ArithmeticRow
from harness.trial.spec import INTEGER

ANOTHER = "another library computes the network"


def arithmetic(model: QuantizedModel) -> list[ArithmeticRow]:
    """By kind of product and reason, in execution order of the first: how many, and their multiply-accumulates per image."""
    rows: dict[tuple[str, str], ArithmeticRow] = {}
    for segment in model.segments:
        for cost in segment.costs:
            module = model.chain.products.get(cost.node)
            kind, reason = _kind(cost.node, module), _reason(model, module)
            which: Literal["integer", "float"] = "float" if reason else "integer"
            empty: ArithmeticRow = {"products": kind, "arithmetic": which, "reason": reason, "count": 0, "macs": 0}
            row = rows.setdefault((kind, reason), empty)
            row["count"] += 1
            row["macs"] += cost.macs
    return list(rows.values())


def integer_share(rows: list[ArithmeticRow]) -> float:
    """Share of multiply-accumulates on integers, in percent."""
    total = sum(row["macs"] for row in rows)
    return 100 * sum(row["macs"] for row in rows if row["arithmetic"] == INTEGER) / total


def _kind(node: str, module: WeightedOperation | MatMul | None) -> str:
    if isinstance(module, MatMul):
        return Kind.MATMUL.value
    if module is None:
        return (Kind.CONV if node.startswith(Kind.CONV) else Kind.LINEAR).value
    return (Kind.LINEAR if module.convolution is None and module.weight.ndim == 2 else Kind.CONV).value


def _reason(model: QuantizedModel, module: WeightedOperation | MatMul | None) -> str:
    """Why a product runs in floating point; empty if it does not."""
    if model.external is not None:
        return ANOTHER
    if off := switched_off(model.chain.runtime):
        return off
    form = COMPUTED if module is None else module.integer_form()
    return form if isinstance(form, str) else ""
