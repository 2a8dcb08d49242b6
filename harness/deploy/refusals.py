"""What no runtime computes with integers: which site, why, and the setting that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.deploy.grids import in_signed_byte, whole_zero_points
from harness.deploy.per_head import is_per_head
from harness.errors import IncompatibleError
from harness.graph.sites import Place, Site
from harness.quant.format.adaptive_log import AdaptiveLog
from harness.quant.format.affine import Affine
from harness.quant.format.base import NumberFormat
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.format.log_sqrt2 import LogSqrt2
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.realisation import BETWEEN, UNEVEN
from harness.quant.format.shift_uniform_log2 import ShiftUniformLog2
from harness.quant.format.twin_gelu import TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.network.qmodel import QuantizedModel

SHOWN = 3  # sites of one reason in a message

NO_KERNEL: dict[type[NumberFormat], tuple[str, str]] = {
    LogIntSoftmax: ("Log-Int-Softmax: powers of two from an integer softmax have no kernel", "fqvit(lis=false)"),
    LogSqrt2: ("log-sqrt2: powers of the root of two have no kernel", "repqvit(softmax=uniform)"),
    AdaptiveLog: ("adaptive logarithm: powers of a fitted base have no kernel", "adalog(logarithms=false)"),
    ShiftUniformLog2: ("shifted logarithm: powers of two less a constant have no kernel", "isvit(softmax=uniform)"),
    TwinSoftmax: ("twin ranges: two scales in one tensor have no kernel", "ptq4vit(twin=none)"),
    TwinGelu: ("twin ranges: two scales in one tensor have no kernel", "ptq4vit(twin=none)"),
}
FRACTION = "fractional zero points: a stored one is an integer"
CHANNELS = "scales or zero points per channel of an activation: a product cannot take them out of its sum"
CHANNEL_FIXES = {
    "repqvit": "repqvit(reparameterise=true)",
    "adalog": "adalog(reparameterise=always)",
    "groupwise": "the stack without groupwise",
}
ZERO_POINT_FIXES = {"repqvit": "repqvit(zero_point=rounded)", "adalog": "adalog(zero_point=rounded)"}


class Refusal(NamedTuple):
    """One site that has no integer form.

    Attributes:
        site: Its name.
        reason: Why.
        fix: What stack has one.
    """

    site: str
    reason: str
    fix: str


def refusals(model: QuantizedModel, steps: Sequence[str], *, float_layernorm: bool) -> list[Refusal]:
    """Every site that cannot be exported, in execution order.

    Args:
        model: The quantized network.
        steps: Names of the methods that made it.
        float_layernorm: Integer LayerNorms may become float ones.
    """
    found = []
    for name, site in model.sites.items():
        quantizer = model.quantizers.get(name)
        why = None if quantizer is None else _why_not(model, site, quantizer, steps)
        if why is not None:
            found.append(Refusal(name, *why))
    if not float_layernorm:
        fix = "fqvit(integer_layernorm=off), or with harness export --float-layernorm, which makes a new record"
        found += [Refusal(node, "integer LayerNorm: no runtime has a kernel", fix) for node in sorted(model.integer_norms)]
    return found


def check(found: Sequence[Refusal], trial: str) -> None:
    """Refuse a trial with all its reasons.

    Raises:
        IncompatibleError: There are any.
    """
    if not found:
        return
    lines = [f"trial {trial} has no integer form at {len(found)} sites; nothing was written"]
    for reason, fix in dict.fromkeys((one.reason, one.fix) for one in found):
        sites = [one.site for one in found if one.reason == reason]
        more = f" and {len(sites) - SHOWN} more" if len(sites) > SHOWN else ""
        lines.append(f"  {', '.join(sites[:SHOWN])}{more}: {reason}; mend it with {fix}")
    raise IncompatibleError("\n".join(lines))


def _why_not(model: QuantizedModel, site: Site, quantizer: NumberFormat, steps: Sequence[str]) -> tuple[str, str] | None:
    """Reason and fix; None where there is an integer form."""
    for kind, why in NO_KERNEL.items():
        if isinstance(quantizer, kind):
            return why
    if not isinstance(quantizer, Affine):
        return f"{quantizer.name}: not integer codes times a scale", "a scheme of uniform formats, such as minmax"
    if not whole_zero_points(quantizer):
        return FRACTION, _of_steps(ZERO_POINT_FIXES, steps)
    if site.place in (Place.PARAMETER, Place.CONSTANT):
        return _stored(model, site, quantizer)
    return _activation(site, quantizer, steps)


def _stored(model: QuantizedModel, site: Site, quantizer: Affine) -> tuple[str, str] | None:
    """Of a weight or constant."""
    if not in_signed_byte(quantizer):
        return "zero points beside the codes of a weight", "minmax, or another scheme whose weight ranges contain zero"
    if site.place is not Place.PARAMETER or quantizer.correction:
        return None
    values = model.weights[site.name].quantized_weight().detach()
    between = quantizer.realisation(values) == BETWEEN
    return (BETWEEN.reason, "adaround, brecq or qdrop with hard rounding at their end") if between else None


def _activation(site: Site, quantizer: Affine, steps: Sequence[str]) -> tuple[str, str] | None:
    if isinstance(quantizer, PowerOfTwo):
        uneven = quantizer.realisation(None) == UNEVEN
        return (UNEVEN.reason, "fqvit, whose power-of-two factors stay") if uneven else None
    if quantizer.scale.numel() == quantizer.zero_point.numel() == 1 or is_per_head(site, quantizer):
        return None
    return CHANNELS, _of_steps(CHANNEL_FIXES, steps)


def _of_steps(fixes: dict[str, str], steps: Sequence[str]) -> str:
    """The fix of the first method that has one, or of all."""
    known = [fixes[name] for name in steps if name in fixes]
    return known[0] if known else " or ".join(fixes.values())
