"""First and last layer at a width of their own."""

from __future__ import annotations

from dataclasses import replace

from harness.graph.sites import Place
from harness.quant.format.uniform import Uniform, from_range
from harness.quant.network.qmodel import QuantizedModel


def widen_outer_layers(model: QuantizedModel, bits: int) -> list[str]:
    """Give the weights of the first and the last layer, and what the last one reads, at least this width.

    As BRECQ and QDrop do. Ranges stay; only uniform formats are changed.

    Args:
        model: A calibrated model.
        bits: The width; 0 changes nothing.

    Returns:
        The sites that were changed.
    """
    operations = list(model.weights.values())
    last = operations[-1]
    source = model.sites[last.operand].source
    read = [name for name, site in model.sites.items() if site.place is Place.VALUE and site.source == source]
    changed = []
    for name in dict.fromkeys([operations[0].site.name, last.site.name, last.operand, *read]):
        quantizer = model.quantizers.get(name)
        if isinstance(quantizer, Uniform) and quantizer.bits < bits:
            spec = replace(quantizer.spec, bits=bits)
            model.quantizers[name] = replace(
                from_range(spec, quantizer.minimum, quantizer.maximum), correction=quantizer.correction
            )
            changed.append(name)
    return changed
