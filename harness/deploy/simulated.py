"""What the simulation computes for a few images: the codes that products read and what they yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from harness.deploy.paths import products
from harness.quant.format.affine import Affine
from harness.quant.network import operators
from harness.quant.network.qmodel import QuantizedModel


class Simulated:
    """Codes by site, unsigned bytes, and outputs of products by the value site behind them.

    The images themselves are kept too.

    Args:
        model: The quantized network.
        images: Preprocessed images ``(n, c, h, w)``.
    """

    def __init__(self, model: QuantizedModel, images: Tensor) -> None:
        self.model, self.images = model, images
        self.codes: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        with self._watching():
            model(images)

    def coded(self, site: str, value: Tensor) -> Tensor | None:
        """The codes that a site's quantizer gives a value; None for a site without integer codes."""
        quantizer = self.model.quantizers.get(site)
        if not isinstance(quantizer, Affine):
            return None
        return (quantizer.codes(value) - quantizer.code_range[0]).to(torch.uint8)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        handles: list[RemovableHandle] = []
        for segment in self.model.segments:
            for module in segment.module.modules():
                if isinstance(module, operators.Tap | operators.Operand):
                    name = module.site.name if isinstance(module, operators.Tap) else module.name
                    handles.append(module.register_forward_pre_hook(self._reading(name)))
        for site, module in products(self.model).items():
            handles.append(module.register_forward_hook(self._computed(site)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _reading(self, site: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            codes = self.coded(site, given[0])
            if codes is not None:
                self.codes[site] = codes

        return hook

    def _computed(self, site: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            self.outputs[site] = output.clone()  # the quantizer behind it overwrites it

        return hook
