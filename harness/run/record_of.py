"""The record of a trial: what it was, what came out so far, what it cost."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, cast

from harness.machine.measure import environment
from harness.models.cards import cards
from harness.quant.network import inventory
from harness.quant.network.arithmetic_report import arithmetic, integer_share
from harness.quant.network.qmodel import QuantizedModel
from harness.run.alteration import original_id
from harness.run.evaluate import Evaluation, other_than
from harness.run.features import FeatureEvaluation
from harness.run.prepare import Prepared
from harness.run.work import Done, Given
from harness.trial.record import SCHEMA_VERSION, Data, Environment, Identity, Record, RecordedAnchor, Results, Status
from harness.trial.spec import DATA


def record_of(given: Given, done: Done, status: Status) -> Record:
    """The record of what was done so far."""
    prepared, spec = given.prepared, given.prepared.spec
    stack, source = str(prepared.stack), str(prepared.calib_source or DATA)
    machine = {**environment(given.device, done.load), **_memory(given, done), "evaluation_batch": spec.batch}
    record = Record(
        schema_version=SCHEMA_VERSION,
        id=prepared.id,
        status=status,
        model=prepared.model.name,
        data=_data(prepared),
        bits=str(prepared.bits),
        stack=stack,
        calib=spec.calib,
        calib_source=source,
        seed=spec.seed,
        asked=replace(spec, method=stack, calib_source=source, bits=str(prepared.bits)).as_dict(),
        protocol=prepared.stack.protocol,
        stages=done.stages.rows,
        seconds=round(time.perf_counter() - done.started, 3),
        weights={"sha256": prepared.model.weights_sha256, "source": prepared.model.weights_source},
        spec=cast(Identity, dict(prepared.identity)),
        command=replace(spec, calib_source=source, bits=str(prepared.bits)).command(stack),
        environment=cast(Environment, machine),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if spec.float_layernorm:
        record["altered_from"] = original_id(prepared.identity)
    return {**record, **done.results}


def _data(prepared: Prepared) -> Data:
    """The images."""
    data = Data(
        name=prepared.spec.data_name,
        fingerprint=prepared.source.fingerprint,
        split=prepared.source.split,
        eval_limit=prepared.spec.eval_limit,
        preprocessing=prepared.preprocessing.as_dict(),
    )
    if prepared.overlap:
        data["overlap"] = prepared.overlap
    if prepared.source.labels_sha256:
        data["labels"] = prepared.source.labels
    return data


def _memory(given: Given, done: Done) -> dict[str, Any]:
    """How memory was laid out and kept in bounds; none of it changes results beyond rounding."""
    facts: dict[str, Any] = {"memory_budget_bytes": given.budget.limit}
    if done.model is not None:
        facts["channels_last"] = done.model.channels_last
        if done.model.batch_limit is not None:
            facts["batch_reduced_to"] = done.model.batch_limit
    return facts


def results_of(model: QuantizedModel, name: str, evaluation: Evaluation) -> Results:
    """What was measured, and what the quantized network is.

    Args:
        model: The network.
        name: ``arch.tag``.
        evaluation: Its accuracy.
    """
    off_grid, computed = inventory.off_grid_sites(model), arithmetic(model)
    results = Results(
        metrics=evaluation.metrics(),
        on_grid=not off_grid,
        off_grid_sites=off_grid,
        grid=inventory.grid(model),
        floating_point=inventory.floating_point(model),
        integer_only=inventory.integer_only(model),
        arithmetic=computed,
        integer_share=integer_share(computed),
        coverage=[{**row} for row in inventory.coverage(model)],
        size_bytes=inventory.size_bytes(model),
        size_bytes_fp32=inventory.full_precision_bytes(model),
        bit_operations=inventory.bit_operations(model),
        bit_operations_fp32=inventory.full_precision_bit_operations(model),
    )
    if not isinstance(evaluation, FeatureEvaluation):
        drop = evaluation.expected_drop()
        results |= {"classes": evaluation.classes(), "anchor": anchored(name, evaluation), "expected_drop": drop}
    changes = inventory.altered(model)
    if changes:
        results["altered"] = changes
    floor = evaluation.noise_floor(other_than(model.arithmetic))
    return results if floor is None else {**results, "noise_floor": floor}


def anchored(name: str, result: Evaluation) -> RecordedAnchor:
    """The published full-precision accuracy of a network beside ours; empty where none is known.

    The difference is None unless as many images were evaluated as the publication did.
    """
    card = cards().get(name)
    if card is None or card.anchor is None:
        return {}
    same = result.n_images == card.anchor.images
    measured = 100 * result.n_correct_fp32 / result.n_images
    difference = round(measured - card.anchor.top1, 4) if same else None
    return cast(RecordedAnchor, {**asdict(card.anchor), "difference": difference})
