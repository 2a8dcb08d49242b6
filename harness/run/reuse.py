"""What other trials have computed already: states of stack prefixes and calibration images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from harness.machine.measure import environment
from harness.method.base import Context
from harness.quant.network.qmodel import QuantizedModel
from harness.run.work import Done, Given
from harness.store.synthetic_images import SyntheticImages


def take_over(given: Given, done: Done, model: QuantizedModel) -> int:
    """Restore the longest readable stored prefix of the stack; returns the number of its steps."""
    prefixes = given.prepared.prefixes
    steps = given.states.longest(prefixes) if given.reuse else 0
    while steps:
        found = given.states.load(model, prefixes[steps - 1])
        if found is not None:
            stages, machine = found
            done.stages.reuse(stages, prefixes[steps - 1], machine)
            return steps
        steps -= 1
    return 0


def keep_prefix(given: Given, done: Done, model: QuantizedModel, number: int) -> bool:
    """Keep the state after step ``number`` of the stack for other trials; returns whether it is kept."""
    if given.share and model.external is None:  # another library's network has no state file
        prefix = given.prepared.prefixes[number]
        return given.states.save(model, prefix, done.stages.rows[1:], environment(given.device))  # all but the capture
    return False


def calibration_images(given: Given, done: Done, model: QuantizedModel, steps: int) -> Tensor:
    """The calibration images ``(n, c, h, w)``.

    Args:
        given: The trial.
        done: Gets the stage that tells what they cost, unless that is in a reused prefix already.
        model: The network, for images that are synthesised from it.
        steps: Number of steps of the stack that were taken over.
    """
    prepared, source = given.prepared, given.prepared.calib_source
    images = SyntheticImages(given.store, prepared.origin)
    if source is not None and given.reuse and (kept := images.load()) is not None:
        found, stage, machine = kept
        if not steps:
            done.stages.reuse([stage], prepared.origin, machine)
        return found
    stages = done.stages.apart() if steps else done.stages
    name, count = ("load calibration images", 0) if source is None else (source.info.name, prepared.spec.calib)
    with stages.stage(name, count, model) as notes:
        made: Tensor = given.session.opened.once(
            "calibration",
            (prepared.origin, str(given.device)),
            lambda: _new_images(given, model, notes),
            forwards=lambda: model.image_forwards,
        )
    if source is not None and given.share:
        images.save(made, stages.rows[-1], environment(given.device))
    return made


def _new_images(given: Given, model: QuantizedModel, notes: dict[str, Any]) -> Tensor:
    prepared, spec = given.prepared, given.prepared.spec
    if prepared.calib_source is None:
        return prepared.source.calibration(spec.calib, spec.seed, prepared.preprocessing).images.to(given.device)
    context = Context(bits=prepared.bits, seed=spec.seed, progress=given.progress, notes=notes)
    return prepared.calib_source.source.images(model, spec.calib, prepared.preprocessing, context)
