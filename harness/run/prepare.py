"""Everything that can be checked before any work, and a trial's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from harness.data.corrupted import check_library
from harness.data.preprocessing import Preprocessing, of_model
from harness.data.sets import DataSource, check_count
from harness.data.sources import open_judged
from harness.errors import DataError, ModelError, UsageError
from harness.machine.progress import Progress
from harness.method import stack as stacks
from harness.method.base import Protocol
from harness.method.calibration_source import SourceStep, check_source
from harness.method.guard import guarded
from harness.method.memo import Memo
from harness.models.cards import block_pattern, preprocessing_overrides
from harness.models.loading import LoadedModel, load_model
from harness.run.decoding import decoding_of
from harness.run.known import Known
from harness.store.prefix_states import CALIBRATION_FINGERPRINT, origin_id, prefix_ids
from harness.trial.bit_check import check_paths
from harness.trial.bits import Bits
from harness.trial.identity import content_id
from harness.trial.spec import FEATURES, HELD_OUT, TrialSpec

SHOWN = 3  # names of shared images in a message


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
        overlap: How many calibration images are evaluation images too.
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
    overlap: int
    preprocessing: Preprocessing
    identity: Mapping[str, Any]
    id: str
    origin: str
    prefixes: tuple[str, ...]
    device: torch.device


def prepare(
    spec: TrialSpec, opened: Memo | None = None, progress: Progress | None = None, known: Known | None = None
) -> Prepared:
    """Check everything that can be checked before any work and compute the trial's id.

    Args:
        spec: The trial.
        opened: Where the newest network and data source are kept for the next trial; no method sees it.
        progress: Hears of it when hashing images takes more than a few seconds.
        known: What is equal between trials, for a plan of many; what it prepares is not to be run.

    Raises:
        UsageError: Something is wrong with the stack, bits, model, weights, data or device.
    """
    opened, known = opened or Memo(), known or Known()
    bits, stack, device = _asked(spec, known)
    say = (progress or Progress()).say
    sides = (spec.data, spec.judge)
    source = known.passing("source", sides, lambda: opened.once("source", sides, lambda: open_judged(spec, say)))
    made, drawn = _calibration(spec, source, known)
    model, source, preprocessing, common = _network(spec, source, opened, known)
    if spec.eval_limit is not None and spec.eval_limit >= source.evaluation_size:
        spec = replace(spec, eval_limit=None)  # the same images have one id
    if bits.rules:
        known.of("rules", (bits, spec.model, spec.weights), lambda: _check_rules(bits, model))
    asked = {"stack": known.of("steps", spec.method, stack.identity), "bits": str(bits), **spec.identity()}
    identity = {**common, **asked, **_images(made, drawn)}
    protocols = known.of("protocols", spec.method, lambda: [step.method.protocol for step in stack.steps])
    return Prepared(
        spec=spec,
        stack=stack,
        bits=bits,
        model=model,
        source=source.decoded_by(decoding_of(spec, device)),
        calib_source=made,
        overlap=drawn.overlap,
        preprocessing=preprocessing,
        identity=identity,
        id=content_id(identity),
        origin=origin_id(identity),
        prefixes=prefix_ids(identity, protocols),
        device=device,
    )


def _asked(spec: TrialSpec, known: Known) -> tuple[Bits, stacks.Stack, torch.device]:
    """What needs no data and no network to be checked."""
    bits = known.of("bits", spec.bits, lambda: Bits.parse(spec.bits))
    stack = known.of("stack", spec.method, lambda: stacks.check(spec.method))
    if spec.corrupt:
        known.of("corruptions", "library", check_library)
    known.of("widths", (spec.method, spec.bits), lambda: _check_bits(stack, bits))
    if spec.task == FEATURES and spec.corrupt:
        raise UsageError(f"corrupt {spec.corrupt!r} has no meaning with --task {FEATURES}", "leave out --corrupt")
    if spec.task == FEATURES and stack.protocol == Protocol.PAPER:
        raise UsageError(
            f"stack {str(stack)!r} looks at top-1 on evaluation images, and --task {FEATURES} has none",
            "give it settings of the strict protocol",
        )
    if spec.judge == HELD_OUT and stack.protocol == Protocol.PAPER:
        raise UsageError(
            f"stack {str(stack)!r} chooses by the images that judge, and --judge {HELD_OUT} is to say what others would",
            "give it settings of the strict protocol",
        )
    return bits, stack, known.of("device", spec.device, lambda: device_of(spec.device))


def _calibration(spec: TrialSpec, source: DataSource, known: Known) -> tuple[SourceStep | None, Drawn]:
    """What makes the calibration images (None: they are the data's own), and what is known of the drawn ones."""
    made = known.of("calib", (spec.calib_source, spec.data, spec.judge, spec.calib), lambda: _calib_source(spec, source))
    if made is not None:
        return made, Drawn()
    drawn = (spec.data, spec.judge, spec.calib, spec.seed, spec.allow_overlap)
    return None, known.of("drawn", drawn, lambda: _drawn(spec, source))


def _network(
    spec: TrialSpec, source: DataSource, opened: Memo, known: Known
) -> tuple[LoadedModel, DataSource, Preprocessing, dict[str, Any]]:
    """The network, the data with labels for it, how images become its input, and both sides' part of the identity."""
    weights = (spec.model, spec.weights)
    model = known.passing("model", weights, lambda: opened.once("model", weights, lambda: load_model(*weights)))
    kind = (weights, spec.data, spec.judge, spec.classes, spec.task)
    labelled = known.passing("labels", kind, lambda: opened.once("labels", kind, lambda: _labelled(spec, source, model)))
    key = (*kind, tuple(spec.preprocess.items()))
    preprocessing = known.of("preprocessing", key, lambda: _preprocessing(spec, model))
    return model, labelled, preprocessing, known.of("common", key, lambda: _network_and_data(model, labelled, preprocessing))


class Drawn(NamedTuple):
    """What is known of the calibration images before they are decoded.

    Attributes:
        fingerprint: Hash of their content; empty where the data's fingerprint covers it, or for synthetic images.
        overlap: How many of them are evaluation images too.
    """

    fingerprint: str = ""
    overlap: int = 0


def _drawn(spec: TrialSpec, source: DataSource) -> Drawn:
    """Look at the content of the images that calibration draws.

    Raises:
        DataError: Some are evaluation images too, which ``spec`` does not allow.
    """
    shared = source.overlap(spec.calib, spec.seed)
    if shared and not spec.allow_overlap:
        more = ", ..." if len(shared) > SHOWN else ""
        raise DataError(
            f"{len(shared)} of {spec.calib} calibration images drawn from {source.name!r} are evaluation images too, byte "
            f"for byte: {', '.join(map(repr, shared[:SHOWN]))}{more}",
            "separate the two sides, or give --allow-overlap, which marks the record",
        )
    return Drawn(source.calibration_fingerprint(spec.calib, spec.seed), len(shared))


def _images(made: SourceStep | None, drawn: Drawn) -> dict[str, Any]:
    """The part of the identity that says more of the calibration images than the data's fingerprint does."""
    if made is not None:
        return {"calib_source": made.identity()}
    return {CALIBRATION_FINGERPRINT: drawn.fingerprint} if drawn.fingerprint else {}


def _labelled(spec: TrialSpec, source: DataSource, model: LoadedModel) -> DataSource:
    """The data with labels for the network, or without any where no class is measured.

    Raises:
        UsageError: The network has no classes, or the data's are not its own.
    """
    if spec.task == FEATURES:
        if spec.classes is not None:
            raise UsageError(f"classes {spec.classes!r} have no meaning with --task {FEATURES}", "leave out --classes")
        return source.unlabelled()
    if not model.classes:
        raise ModelError(
            f"model {model.name} has no classifier: there is no top-1",
            f"measure how far its features move with --task {FEATURES}",
        )
    return source.labelled(model.classes, model.name, spec.classes)


def _preprocessing(spec: TrialSpec, model: LoadedModel) -> Preprocessing:
    """How images become the network's input."""
    return of_model(model.network, preprocessing_overrides(model.architecture, spec.preprocess))


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
        **({"labels_sha256": source.labels_sha256} if source.labels_sha256 else {}),
        "preprocessing": preprocessing.as_dict(),
        "blocks": block_pattern(model.architecture),
    }


def _check_bits(stack: stacks.Stack, bits: Bits) -> None:
    """Let every method refuse widths that it cannot do."""
    for step in stack.steps:
        with guarded(f"method {step.info.name!r} of {step.info.source} cannot check {bits}"):
            step.method.check_bits(bits)


def _check_rules(bits: Bits, model: LoadedModel) -> None:
    """See that the network has modules or tensors of the names that rules for single sites have, before it is captured."""
    tensors = (name for name, _ in (*model.network.named_parameters(), *model.network.named_buffers()))
    modules = [name for name, _ in model.network.named_modules() if name]
    check_paths(bits, [*modules, *tensors], model.name)


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
