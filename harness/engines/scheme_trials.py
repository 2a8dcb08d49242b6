"""A scheme tried at other widths than the trial's: what steps do that choose widths before the scheme is applied."""

from __future__ import annotations

from dataclasses import replace

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.machine.progress import Progress
from harness.method.base import Context
from harness.method.checkpoint import Checkpoint
from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import restore, state_of
from harness.trial.bits import Bits


class SchemeTrials:
    """Applies the scheme that follows a step, again and again from the network as that step found it.

    Args:
        model: The network; a step before may have rewritten weights.
        images: The scheme's calibration images.
        context: The step's context.
        step: Its name, for messages.

    Raises:
        IncompatibleError: No scheme follows.
    """

    def __init__(self, model: QuantizedModel, images: CalibrationSet, context: Context, step: str) -> None:
        if context.scheme is None:
            raise IncompatibleError(f"{step} chooses widths for a scheme, and knows of none", f"use {step}+fqvit")
        self.model = model
        self._images = images
        self._context = context
        self._scheme = context.scheme
        self._before = state_of(model)

    def apply(self, bits: Bits) -> None:
        """Apply the scheme at these widths; widths that the step has set meanwhile stay.

        Raises:
            IncompatibleError: Another library quantizes, with one width for all sites.
        """
        widths = dict(self.model.widths)
        self.reset()
        self.model.widths.update(widths)
        context = replace(self._context, bits=bits, notes={}, progress=Progress(), checkpoint=Checkpoint(), scheme=None)
        self._scheme.apply(self.model, self._images, context)
        if self.model.external is not None:
            raise IncompatibleError(
                f"{self.model.external.library} has one width for all sites", "use a scheme of this project, such as fqvit"
            )

    def reset(self) -> None:
        """The network as it was before the step: without quantizers and without widths."""
        restore(self.model, *self._before)


def is_ruled(bits: Bits, site: Site) -> bool:
    """Whether a rule of the trial says this site's width; one for activations says nothing of weights."""
    found = [rule for rule in bits.rules if rule.pattern.matches(site)]
    if site.place is Place.PARAMETER:
        return any(rule.weight is not None for rule in found)
    given = [(rule.activation, rule.attention if site.kind is Kind.SOFTMAX else None) for rule in found]
    return any(width is not None for widths in given for width in widths)
