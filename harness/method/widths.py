"""The widths that a step of a stack works with: those of the trial, changed by what a step before it has chosen."""

from __future__ import annotations

from collections import Counter

from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bit_rules import BitRule, SitePattern, address_of
from harness.trial.bits import Bits

WEIGHT = "weight"


def present_bits(model: QuantizedModel, bits: Bits) -> Bits:
    """The trial's widths with those that a step has chosen for this network.

    Args:
        model: The network.
        bits: The widths that the trial asks for.
    """
    rules = tuple(_rule(model, name, width) for name, width in model.widths.items() if _now(model, bits, name) != width)
    return Bits(bits.weight, bits.activation, bits.attention, (*bits.rules, *rules)) if rules else bits


def map_of(model: QuantizedModel, bits: Bits) -> str:
    """The same in the canonical text of ``--bits``, short: the most frequent width of weights is the general one."""
    chosen = [width for name, width in model.widths.items() if model.sites[name].kind == WEIGHT]
    everywhere = len(chosen) == len(model.weights)
    weight = Counter(chosen).most_common(1)[0][0] if chosen and everywhere else bits.weight
    return str(present_bits(model, Bits(weight, bits.activation, bits.attention, bits.rules)))


def _now(model: QuantizedModel, bits: Bits, name: str) -> int:
    site = model.sites[name]
    own = bits.at(site)
    return own.weight if site.kind == WEIGHT else own.softmax if site.kind == "softmax" else own.activation


def _rule(model: QuantizedModel, name: str, width: int) -> BitRule:
    site = model.sites[name]
    pattern = SitePattern.parse(name if ":" not in name else address_of(site))
    if site.kind == WEIGHT:
        return BitRule(pattern, weight=width)
    return BitRule(pattern, attention=width) if site.kind == "softmax" else BitRule(pattern, activation=width)
