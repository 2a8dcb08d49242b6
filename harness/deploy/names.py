"""Names of sites in an ONNX file: products and quantizers can be found in it, and in what a runtime makes of it.

The exporter notes for every node which module it came from, with the places of source files on this machine. Nodes and
values of products and quantizers get names from it; the notes are removed.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"
PRODUCTS = ("MatMul", "Gemm", "Conv")
QUANTIZE = "QuantizeLinear"
WITHIN = "/"  # no name of a site has one
CODES, VALUE = f"{WITHIN}codes", f"{WITHIN}value"


def name_sites(model: onnx.ModelProto, operations: Mapping[str, str], quantizers: Mapping[str, str]) -> None:
    """Rename what belongs to a site, and remove the exporter's notes.

    A product's node bears the name of the value site behind it, and the value itself that name with ``/value``. The codes
    of a quantizer bear its site's name with ``/codes``.

    Args:
        model: Changed.
        operations: Value sites by the path of the module that computes them.
        quantizers: Sites by the path of their quantizer's module.
    """
    renamed: dict[str, str] = {}
    taken: Counter[str] = Counter()
    last: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        scopes = _scopes(node)
        quantized = _innermost(scopes, quantizers)
        if node.op_type == QUANTIZE:
            if quantized:
                renamed[node.output[0]] = _unique(f"{quantized}{CODES}", taken)
        elif not quantized and (site := _innermost(scopes, operations)) and node.op_type != "DequantizeLinear":
            last[site] = node
            product = node.op_type in PRODUCTS and not _is_sum(node)
            node.name = _unique(site if product else f"{site}{WITHIN}{node.op_type.lower()}", taken)
    kept = {one.name for one in model.graph.output}
    for site, node in last.items():
        if node.output[0] not in kept:
            renamed[node.output[0]] = f"{site}{VALUE}"
    _rename(model, renamed)
    _without_notes(model)


def _scopes(node: onnx.NodeProto) -> list[str]:
    """Paths of the modules that a node came from, the innermost last."""
    noted = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    return [str(scope) for scope in ast.literal_eval(noted)]


def _innermost(scopes: list[str], sites: Mapping[str, str]) -> str:
    """The site of the innermost module that has one; empty for none."""
    found = [sites[scope] for scope in scopes if scope in sites]
    return found[-1] if found else ""


def _is_sum(node: onnx.NodeProto) -> bool:
    """Whether a convolution is the one with ones that an offset needs."""
    return len(node.input) > 1 and node.input[1].endswith(".ones")


def _unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}_{taken[name]}"


def _rename(model: onnx.ModelProto, renamed: Mapping[str, str]) -> None:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for index, value in enumerate(values):
                values[index] = renamed.get(value, value)
    for info in model.graph.value_info:
        info.name = renamed.get(info.name, info.name)


def _without_notes(model: onnx.ModelProto) -> None:
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    parts += [*model.graph.input, *model.graph.output]
    for part in parts:
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        if isinstance(part, onnx.NodeProto):
            part.doc_string = ""
