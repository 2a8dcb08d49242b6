"""Where a quantized network's values stop being finite, for the record of a trial that diverged."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.quant.network.qmodel import QuantizedModel

UNDEFINED = (
    ", an integer LayerNorm, which as released divides by zero where all codes of a token are equal "
    "(fqvit(layernorm_zero=safe) does not)"
)


@torch.no_grad()
def first_not_finite(model: QuantizedModel, images: Tensor) -> str:
    """Say at which site values stop being finite first; empty where all are finite or the sites cannot be watched.

    Args:
        model: The quantized model; nothing is known of the inside of another library's network.
        images: ``(n, c, h, w)``, among them one with logits that are not finite.
    """
    if model.external is not None:
        return ""
    found: list[str] = []

    def watch(name: str, x: Tensor) -> None:
        if not found and not torch.isfinite(x).all():
            found.append(name)

    model.observe(images, watch, quantize=True)
    if not found:
        return ""
    return f"{found[0]} first{_integer_norm(model, found[0])}"


def _integer_norm(model: QuantizedModel, name: str) -> str:
    """Why an integer LayerNorm fails as released: it has no epsilon, and low bits make tokens constant."""
    outputs = {model.layer_norms[node][1] for node in model.undefined_norms}
    return UNDEFINED if name in outputs else ""
