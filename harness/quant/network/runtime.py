"""What all operations of one instrumented network share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.quant.format.base import NumberFormat
from harness.quant.network.drop_masks import drawn
from harness.quant.network.edits import Edits
from harness.trial.spec import FLOAT


@dataclass
class Runtime:
    """What all operations of one model share.

    Attributes:
        edits: What methods changed.
        learned: Weights as they are while a method learns how to round them, by site name; used without a quantizer.
        drop: While a method learns: share of the elements of every activation that stay unquantized, and the random
            generator that draws them (QDrop).
        transformed: Transformed weights and norms act although ``quantize`` is off: the same network, but its values are
            those that quantizers will see (statistics are collected like that).
        quantize: Whether quantizers act; off for the full-precision network.
        observe: Called with every site's name and tensor while statistics are collected.
        live_softmax: Log-int-softmax acts although ``quantize`` is off (what FQ-ViT's release does in its last
            calibration batch).
        live_norms: Integer LayerNorm acts although ``quantize`` is off (the search target of Evol-Q's release).
        arithmetic: ``integer``: products of values on uniform grids run on their codes (``arithmetic_rule``); ``float``:
            none does.
    """

    edits: Edits = field(default_factory=Edits)
    learned: dict[str, Tensor] = field(default_factory=dict)
    drop: tuple[float, torch.Generator] | None = None
    transformed: bool = False
    quantize: bool = False
    observe: Callable[[str, Tensor], None] | None = None
    live_softmax: bool = False
    live_norms: bool = False
    arithmetic: str = FLOAT

    @property
    def acts(self) -> bool:
        """Whether what transforms put in the place of the network's own acts."""
        return self.quantize or self.transformed

    def activation(self, quantizer: NumberFormat, x: Tensor, *, overwrite: bool = False) -> Tensor:
        """An activation after its quantizer; while a method drops quantization (QDrop), some elements stay as they are."""
        if x.dtype is torch.bfloat16:  # products of a learned block: codes need more digits
            x = x.float()
        if self.drop is None:
            return quantizer(x, overwrite=overwrite)
        return quantizer(x, kept=drawn(x.shape, *self.drop).to(x.device))
