"""Which elements of an activation stay unquantized while a method learns (QDrop)."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 8  # bytes of one drawn number


def on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator that draws on a device: itself on a CPU, else one with its seed, so that nothing is copied each step."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())


def drawn(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    """Independent yes for a share of the elements, bool, on the generator's device.

    Each drawn number serves several elements, since drawing is what costs: eight if the share is a whole number of 256ths
    (one half is), four otherwise, with the share rounded to one of 65536.

    Args:
        shape: Of the result.
        share: Between 0 and 1.
        generator: Draws.
    """
    count = shape.numel()
    kind, levels = (torch.int8, 2**8) if (share * 2**8).is_integer() else (torch.int16, 2**16)
    words = -(-count * kind.itemsize // WORD)
    numbers = torch.empty(words, dtype=torch.int64, device=generator.device)
    numbers.random_(-(2**63), None, generator=generator)
    least = round(share * levels) - levels // 2
    if least > levels // 2 - 1:  # every element: no number of this kind is as large
        return torch.ones(shape, dtype=torch.bool, device=generator.device)
    return (numbers.view(kind)[:count] < least).reshape(shape)
