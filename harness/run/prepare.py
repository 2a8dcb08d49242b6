"""Everything that can be checked before any work, and a trial's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.data.preprocessing import Preprocessing, of_model
from harness.data.sets import DataSource, check_count
from harness.data.sources import check_classes, open_source
from harness.errors import UsageError
from harness.method import stack as stacks
from harness.method.calibration_source import SourceStep, check_source
from harness.method.guard import guarded
from harness.method.memo import Memo
from harness.models.cards import block_pattern, preprocessing_overrides
from harness.models.loading import LoadedModel, load_model
from harness.run.known import Known
from harness.store.prefix_states import origin_id, prefix_ids
from harness.trial.bits import Bits
from harness.trial.identity import content_id
from harness.trial.spec import TrialSpec


@dataclass(frozen=True)
class Prepared:
    """A checked trial, ready to run.

    Attributes:
        spec: What was asked for.
        stack: The checked stack.
        bits: The parsed widths.
        model: The loaded network.
        source: The opened data.
        calib_source: What makes the calibration images; None for the data's own.
        preprocessing: How images become the network's input.
        identity: What the id is the hash of.
        id: The trial's id.
        origin: Id of network and calibration images.
        prefixes: Ids of the stack's first step, first two steps, ...
        device: Where it runs.
    """

    spec: TrialSpec
    stack: stacks.Stack
    bits: Bits
    model: LoadedModel
    source: DataSource
    calib_source: SourceStep | None
    preprocessing: Preprocessing
    identity: Mapping[str, Any]
    id: str
    origin: str
    prefixes: tuple[str, ...]
    device: torch.device


def prepare(spec: TrialSpec, opened: Memo | None = None, known: Known | None = None) -> Prepared:
    """Check everything that can be checked before any work and compute the trial's id.

    Args:
        spec: The trial.
        opened: Where the newest network and data source are kept for the next trial; no method sees it.
        known: What is equal between trials, for a plan of many; what it prepares is not to be run.

    Raises:
        UsageError: Something is wrong with the stack, bits, model, weights, data or device.
    """
    opened, known = opened or Memo(), known or Known()
    bits = known.of("bits", spec.bits, lambda: Bits.parse(spec.bits))
    stack = known.of("stack", spec.method, lambda: stacks.check(spec.method))
    known.of("widths", (spec.method, spec.bits), lambda: _check_bits(stack, bits))
    device = known.of("device", spec.device, lambda: device_of(spec.device))
    source = known.passing("source", spec.data, lambda: opened.once("source", spec.data, lambda: open_source(spec.data)))
    made = known.of("calib", (spec.calib_source, spec.data, spec.calib), lambda: _calib_source(spec, source))
    weights = (spec.model, spec.weights)
    model = known.passing("model", weights, lambda: opened.once("model", weights, lambda: load_model(*weights)))
    changes = tuple(spec.preprocess.items())
    preprocessing = known.of("preprocessing", (weights, spec.data, changes), lambda: _preprocessing(spec, source, model))
    common = known.of("common", (weights, spec.data, changes), lambda: _network_and_data(model, source, preprocessing))
    identity = {
        **common,
        "stack": known.of("steps", spec.method, stack.identity),
        "bits": str(bits),
        **spec.identity(),
        **({} if made is None else {"calib_source": made.identity()}),
    }
    protocols = known.of("protocols", spec.method, lambda: [step.method.protocol for step in stack.steps])
    return Prepared(
        spec=spec,
        stack=stack,
        bits=bits,
        model=model,
        source=source,
        calib_source=made,
        preprocessing=preprocessing,
        identity=identity,
        id=content_id(identity),
        origin=origin_id(identity),
        prefixes=prefix_ids(identity, protocols),
        device=device,
    )


def _preprocessing(spec: TrialSpec, source: DataSource, model: LoadedModel) -> Preprocessing:
    """How images become the network's input; network and data must have the same classes."""
    check_classes(source, model.classes, model.name)
    return of_model(model.network, preprocessing_overrides(model.name, spec.preprocess))


def _calib_source(spec: TrialSpec, source: DataSource) -> SourceStep | None:
    """What makes the calibration images, None for the data's own; there must be as many as asked for."""
    made = check_source(spec.calib_source)
    if made is None:
        check_count(source.calibration_size, spec.calib, source.name)
    elif spec.calib < 1:
        raise UsageError(f"{spec.calib} calibration images asked for, expected at least 1")
    return made


def _network_and_data(model: LoadedModel, source: DataSource, preprocessing: Preprocessing) -> dict[str, Any]:
    """The part of the identity that does not depend on what is asked of them."""
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "data_fingerprint": source.fingerprint,
        "preprocessing": preprocessing.as_dict(),
        "blocks": block_pattern(model.name),
    }


def _check_bits(stack: stacks.Stack, bits: Bits) -> None:
    """Let every method refuse widths that it cannot do."""
    for step in stack.steps:
        with guarded(f"method {step.info.name!r} of {step.info.source} cannot check {bits}"):
            step.method.check_bits(bits)


def device_of(name: str) -> torch.device:
    """The torch device of that name; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: Not understood, or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} not understood: expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported: expected cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r} asked for, but torch finds no CUDA GPU", "use --device cpu")
    return device
