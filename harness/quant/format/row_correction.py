"""Bias correction of quantized weights: every output channel gets back its mean and spread (Banner et al. 2019)."""

from __future__ import annotations

from torch import Tensor


def corrected_rows(weight: Tensor, quantized: Tensor, form: str) -> Tensor:
    """Bias correction of weights: give every output channel of ``quantized`` the mean and spread of ``weight``.

    Args:
        weight: Full-precision weight, output channels first.
        quantized: Its fake-quantized form.
        form: ``centred``: mean and standard deviation are restored exactly (the code of Banner et al. 2019);
            ``paper``: ``xi (Wq + mu)`` with ``mu = E[W] - E[Wq]`` as printed in their Sec. 3.3.
    """
    rows, codes = weight.flatten(1), quantized.flatten(1)
    mean, coded_mean = rows.mean(1, keepdim=True), codes.mean(1, keepdim=True)
    ratio = rows.std(1, keepdim=True) / (codes.std(1, keepdim=True) + 1e-8)
    if form == "paper":
        return (ratio * (codes + mean - coded_mean)).reshape(weight.shape)
    return ((codes - coded_mean) * ratio + mean).reshape(weight.shape)
