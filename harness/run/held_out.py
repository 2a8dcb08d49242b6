"""A network after a stack of methods, and calibration images that the methods have not seen. No labels anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.data.sets import CalibrationSet
from harness.errors import UsageError
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.method.base import Context, Protocol
from harness.method.guard import guarded
from harness.method.widths import present_bits
from harness.quant.network.qmodel import QuantizedModel
from harness.run.network import captured_network
from harness.run.prepare import Prepared, prepare
from harness.run.session import Session
from harness.text import parse_size
from harness.trial.bit_check import check_sites
from harness.trial.spec import TrialSpec


@dataclass(frozen=True)
class Fitted:
    """A quantized network and images to judge it on.

    Attributes:
        prepared: The checked trial; its calibration images are divided here, so this is no result of it.
        model: The network after all steps of the stack.
        fitted: Number of calibration images that the steps saw.
        held: The others ``(n, c, h, w)``.
        budget: For what is kept while it is judged.
    """

    prepared: Prepared
    model: QuantizedModel
    fitted: int
    held: Tensor
    budget: Budget


def fitted(spec: TrialSpec, held: int, progress: Progress, session: Session | None = None) -> Fitted:
    """Apply a trial's stack to its calibration images without the last ``held`` of the draw.

    Args:
        spec: The trial; evaluation images are not opened.
        held: Calibration images that the methods do not see.
        progress: Display.
        session: Keeps the network for the next time.

    Raises:
        UsageError: The trial cannot be run as asked, or there are not more calibration images than are held out.
    """
    session = session or Session()
    prepared = prepare(spec, session.opened, progress)
    if not 0 < held < spec.calib:
        raise UsageError(
            f"{held} of {spec.calib} calibration images cannot be held out: expected 1 to {spec.calib - 1}",
            "change --held-out, or draw more with --calib",
        )
    if prepared.stack.protocol == Protocol.PAPER:
        raise UsageError(f"{prepared.stack} looks at evaluation images, and nothing here may", "use its strict form")
    progress.stage("capture")
    model = captured_network(prepared, session)
    check_sites(prepared.bits, model.sites.values(), prepared.model.name)
    model.clear()
    model.arithmetic = spec.arithmetic
    budget = Budget(parse_size(spec.memory), prepared.device)
    images = _images(prepared, model, progress)
    seen = CalibrationSet(images[:-held])
    for step in prepared.stack.steps:
        progress.stage(step.info.name)
        scheme = step.scheme.method if step.scheme else None
        bits = present_bits(model, prepared.bits)
        with guarded(f"method {step.info.name!r} of {step.info.source} fails"):
            step.method.apply(model, seen, Context(bits, spec.seed, progress, budget=budget, scheme=scheme))
    return Fitted(prepared, model, len(seen), images[-held:], budget)


def _images(prepared: Prepared, model: QuantizedModel, progress: Progress) -> Tensor:
    spec = prepared.spec
    if prepared.calib_source is None:
        return prepared.source.calibration(spec.calib, spec.seed, prepared.preprocessing).images.to(prepared.device)
    context = Context(prepared.bits, spec.seed, progress)
    return prepared.calib_source.source.images(model, spec.calib, prepared.preprocessing, context)
