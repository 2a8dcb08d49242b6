"""How large an exported file is, before it is written."""

from __future__ import annotations

from harness.quant.network.inventory import size_bytes
from harness.quant.network.qmodel import QuantizedModel

CODE_BITS = 8  # of a weight in a file; those of four bits can be packed when export is asked to (--int4)


def exported_bytes(model: QuantizedModel) -> int:
    """Bytes of a network whose codes have the width of a runtime's integers; the file's graph is not counted.

    Args:
        model: With the quantizers of a finished trial.
    """
    return size_bytes(model, least=CODE_BITS)
