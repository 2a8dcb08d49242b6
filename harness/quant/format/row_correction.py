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
    mean, coded_mean, ratio = _statistics(weight, quantized)
    codes = quantized.flatten(1)
    if form == "paper":
        return (ratio * (codes + mean - coded_mean)).reshape(weight.shape)
    return ((codes - coded_mean) * ratio + mean).reshape(weight.shape)


def row_gain_and_offset(weight: Tensor, quantized: Tensor, form: str) -> tuple[Tensor, Tensor]:
    """The same correction as ``gain * quantized + offset``: one number each per output channel, ``(channels,)``.

    Args:
        weight: As in ``corrected_rows``, like the others.
        quantized: Likewise.
        form: Likewise.
    """
    mean, coded_mean, ratio = (part.flatten() for part in _statistics(weight, quantized))
    return ratio, ratio * (mean - coded_mean) if form == "paper" else mean - coded_mean * ratio


def _statistics(weight: Tensor, quantized: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both means and the ratio of the deviations, ``(channels, 1)``."""
    rows, codes = weight.flatten(1), quantized.flatten(1)
    ratio = rows.std(1, keepdim=True) / (codes.std(1, keepdim=True) + 1e-8)
    return rows.mean(1, keepdim=True), codes.mean(1, keepdim=True), ratio
