"""Placement: which tensors of a network a scheme quantizes, and with which codes. Every scheme asks here.

- ``values``: FQ-ViT's rule, the output of every arithmetic operation and the constants that are added.
- ``operands``: what linear operations, convolutions and matrix products of computed tensors read.
- ``deploy``: what integer kernels compute: inputs of linear operations and convolutions, one scale a tensor, and weights
  with symmetric codes, one scale an output channel; what matrix products read only on request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import Uniform
from harness.quant.network.operands import IMAGE_BITS, operand_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import Bits

Sites = Literal["values", "operands", "deploy"]


@dataclass(frozen=True)
class Placement:
    """Where the quantizers of a scheme sit.

    Attributes:
        sites: ``values``, ``operands`` or ``deploy``, as above.
        image: Whether the input image is quantized.
        attention: For ``deploy``: whether matrix products of computed tensors, which are attention's, read codes too.
    """

    sites: Sites = "values"
    image: bool = True
    attention: bool = False

    @property
    def deployed(self) -> bool:
        """Whether integer kernels shall compute with the formats: they fix some of their properties."""
        return self.sites == "deploy"

    def selects(self, site: Site) -> bool:
        """Whether an activation or a constant gets a quantizer.

        Values that a fused activation (GELU, ReLU) reads at once are never stored and stay out.
        """
        if site.kind is Kind.INPUT and not self.image:
            return False
        if self.sites == "values":
            return site.place in (Place.VALUE, Place.CONSTANT) and not site.fused
        product = Kind.MATMUL in site.feeds
        return site.place is Place.OPERAND and (self.sites == "operands" or self.attention or not product)

    def among(self, model: QuantizedModel) -> list[Site]:
        """The activations and constants that get a quantizer, in execution order."""
        return [site for site in model.sites.values() if self.selects(site)]

    def width(self, site: Site, bits: Bits, image: int = IMAGE_BITS) -> int:
        """Bits of an activation or constant at this site; 32 for no quantizer.

        Attention probabilities have their own width. As an operand the image has at least ``image`` bits.
        """
        if self.sites != "values":
            return operand_bits(site, bits, image)
        own = bits.at(site)
        return own.softmax if site.kind is Kind.SOFTMAX else own.activation

    def activation_spec(self, bits: int, *, symmetric: bool = False) -> AffineSpec:
        """Codes of an activation: unsigned with a zero point, or signed and symmetric, from ``-2^(b-1)`` on.

        Runtimes saturate activations at the most negative code, so it stays.
        """
        return AffineSpec(bits, signed=symmetric, symmetric=symmetric)

    def weight_spec(self, bits: int, *, symmetric: bool = False, narrow: bool = False) -> AffineSpec:
        """Codes of a weight, one scale an output channel.

        ``deploy`` fixes them: signed, zero points at zero, without the most negative code, so that every code has a
        negative and the largest weight is a code; [-127, 127] at eight bits, as in ONNX Runtime's own quantizer.

        Args:
            bits: Width of the codes.
            symmetric: Elsewhere: signed codes and zero points at zero instead of unsigned codes.
            narrow: Elsewhere: leave out the most negative code (symmetric only).
        """
        signed = symmetric or self.deployed
        return AffineSpec(bits, signed=signed, symmetric=signed, axis=0, narrow_range=(narrow or self.deployed) and signed)


VALUES = Placement("values")


def is_deployed(model: QuantizedModel) -> bool:
    """Whether the quantizers are those of ``deploy``: none beside operands and weights, and these as it fixes them.

    Later steps see by it that they must keep the codes symmetric.
    """
    places = {model.sites[name].place for name in model.quantizers}
    weights = [model.quantizers[name] for name in model.weights if name in model.quantizers]
    fixed = [isinstance(one, Uniform) and one.symmetric and one.narrow_range for one in weights]
    return bool(weights) and all(fixed) and places <= {Place.PARAMETER, Place.OPERAND}


def keeps_deployed(model: QuantizedModel, change: str, instead: str) -> None:
    """Refuse a change of activations' formats with which integer kernels no longer compute what ``deploy`` placed.

    Args:
        model: The network.
        change: Who does what, for the message.
        instead: What to use.

    Raises:
        IncompatibleError: The quantizers are those of ``deploy``.
    """
    if is_deployed(model):
        raise IncompatibleError(
            f"{change}, and integer kernels read one scale for the whole tensor: sites=deploy would no longer be true",
            f"use {instead}, or a scheme with another placement",
        )
