"""Where Evol-Q's released code quantizes LeViT (FQ-ViT's own code has no LeViT).

Against FQ-ViT's rule over every operation: queries, keys and values have a scale each, although one linear operation
yields them; the stem's convolutions and their activations have power-of-two factors; the outputs of the stem and of the
last block are quantized twice; and four things stay in floating point: the image, the attention biases, what attention's
projection reads (except where it subsamples), and the second linear output of an MLP.
"""

from __future__ import annotations

from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.quant.network.qmodel import QuantizedModel


class LevitRule:
    """The released code's choices for the sites of one LeViT.

    Args:
        model: The network.
    """

    def __init__(self, model: QuantizedModel) -> None:
        self._model = model
        self._first_block = next(index for index, segment in enumerate(model.segments) if segment.is_block)
        projected = [site for site in model.sites.values() if _is_projection(site)]
        counts: dict[str, int] = {}
        for site in projected:
            counts[site.attention] = counts.get(site.attention, 0) + 1
        self._subsampling = {name for name, count in counts.items() if count > 1}  # its queries have a linear of their own

    def sites(self) -> list[Site]:
        """Activations that have a quantizer: values, and the operands that are queries, keys and values."""
        return [site for site in self._model.sites.values() if self._is_quantized(site)]

    def has_factors(self, site: Site) -> bool:
        """Whether the site's channels have power-of-two factors: the stem, and sums of the residual stream."""
        return self._in_stem(site) or (site.kind is Kind.ADD and site.residual and bool(site.feeds))

    def is_requantized(self, site: Site) -> bool:
        """Whether a second quantizer follows: the stem's last output, and the sum that the mean over tokens reads."""
        if self._in_stem(site):
            return site.kind is Kind.CONV and Kind.ACTIVATION not in site.feeds
        return self.has_factors(site) and site.feeds == frozenset({Kind.MEAN})

    def _is_quantized(self, site: Site) -> bool:
        if site.place is Place.OPERAND:
            return bool(site.attention) and site.kind is Kind.LINEAR and Kind.MATMUL in site.feeds
        if site.place is not Place.VALUE or site.fused or site.kind is Kind.INPUT or _is_projection(site):
            return False
        if site.attention and site.kind is Kind.ACTIVATION:
            return site.attention in self._subsampling
        return not self._ends_mlp(site)

    def _ends_mlp(self, site: Site) -> bool:
        in_block = self._model.segments[self._model.segment_of(site.name)].is_block
        return in_block and not site.attention and site.kind is Kind.LINEAR and site.feeds == frozenset({Kind.ADD})

    def _in_stem(self, site: Site) -> bool:
        return self._model.segment_of(site.name) < self._first_block


def _is_projection(site: Site) -> bool:
    """Whether the value is queries, keys or values, or several of them together."""
    is_linear = site.place is Place.VALUE and site.kind is Kind.LINEAR
    return is_linear and bool(site.attention) and Kind.MATMUL in site.feeds
