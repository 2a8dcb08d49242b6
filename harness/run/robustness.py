"""A finished trial on corrupted evaluation images: one row per corruption."""

from __future__ import annotations

from harness.data.corrupted import CorruptedSet, library
from harness.data.sets import EvaluationSet
from harness.machine.measure import environment
from harness.quant.network.qmodel import QuantizedModel
from harness.run.evaluate import Evaluation, evaluate
from harness.run.work import Given
from harness.store.fp_logits import StoredReference
from harness.trial.corruptions import Corruption, read_corruptions
from harness.trial.record import CorruptionRow
from harness.trial.spec import FLOAT_LAYERNORM


def reference_logits(given: Given, corruption: Corruption | None = None) -> StoredReference:
    """Full-precision logits of the clean images, or of corrupted ones, which every trial of the network shares."""
    prepared = given.prepared
    identity = {name: value for name, value in prepared.identity.items() if name not in ("corrupt", FLOAT_LAYERNORM)}
    if corruption is not None:
        identity |= {"corrupt": f"{corruption} {library()}"}
    return StoredReference(given.store, identity, prepared.spec.batch, environment(given.device), read=given.reuse)


def corrupted_rows(given: Given, model: QuantizedModel, data: EvaluationSet) -> list[CorruptionRow]:
    """Evaluate under every corruption that was asked for; none was: nothing.

    Args:
        given: The trial.
        model: Its finished network.
        data: The clean evaluation images.
    """
    asked = given.prepared.spec.corrupt
    return [_row(given, model, data, one) for one in read_corruptions(asked)] if asked else []


def _row(given: Given, model: QuantizedModel, data: EvaluationSet, corruption: Corruption) -> CorruptionRow:
    images, reference = CorruptedSet(data, corruption, given.prepared.preprocessing), reference_logits(given, corruption)
    found = evaluate(model, images, given.prepared.spec.batch, given.progress, reference)
    if reference.known is not None:
        given.session.savings.add(reference.seconds, len(data))
    elif given.share:
        reference.save()
    return _counted(corruption, found)


def _counted(corruption: Corruption, found: Evaluation) -> CorruptionRow:
    metrics, (quantized, full) = found.metrics(), found.bitmap()
    return {
        "corruption": corruption.name,
        "severity": corruption.severity,
        "library": library(),
        "top1": metrics["top1"],
        "top1_fp32": metrics["top1_fp32"],
        "agreement": metrics["agreement"],
        "lost": int((full & ~quantized).sum()),
        "gained": int((quantized & ~full).sum()),
    }
