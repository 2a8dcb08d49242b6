"""A finished trial's network from Python: rebuilt from its record and its quantizers, ready to give quantized logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from harness.data.preprocessing import Preprocessing
from harness.errors import UsageError
from harness.method import registry
from harness.models.cards import block_pattern
from harness.models.loading import LoadedModel, load_model
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.quant.network.state import load_state
from harness.run.prepare import device_of
from harness.store.reading import reason_of, sha256_of
from harness.store.store import STATE, Store
from harness.trial.record import Record
from harness.trial.spec import FLOAT


class QuantizedNetwork(nn.Module):
    """A quantized network as a torch module: ``network(images)`` gives its logits.

    ``to``, ``cpu`` and ``cuda`` move its quantizers along. Its numbers stay 32-bit floats: the quantizers act on these.

    Args:
        model: The network with its quantizers.
        preprocessing: How images become its input.
        record: The trial that made it.

    Attributes:
        model: The network with its quantizers: sites, segments, full-precision logits.
        preprocessing: How images become its input, as ``preprocessing.transform()`` does for a PIL image.
        record: The trial that made it.
    """

    def __init__(self, model: QuantizedModel, preprocessing: Preprocessing, record: Record) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.record = record
        self.segments = nn.ModuleList(segment.module for segment in model.segments)
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Quantized logits ``(n, classes)`` of preprocessed images ``(n, c, h, w)``."""
        return self.model(images)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What ``to``, ``cpu`` and ``cuda`` call for every parameter: the quantizers follow.

        Raises:
            TypeError: Another type of number is asked for.
        """
        probe = fn(torch.zeros(1, device=self.model.device))
        if probe.dtype != torch.float32:
            raise TypeError(f"a quantized network computes in float32, {probe.dtype} is not possible")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.model.to(probe.device)
        return self


def load_quantized(store: Store, trial_id: str, *, weights: Path | None = None, device: str = "cpu") -> QuantizedNetwork:
    """Rebuild the network of a finished trial.

    Args:
        store: Where the trial's record and its ``quantizers.safetensors`` are.
        trial_id: Its id, or the first digits of it.
        weights: A safetensors file with the full-precision weights in timm's naming, or a folder with ``config.json`` and
            ``model.safetensors``; None for the embedded file or timm's download.
        device: torch device, or ``auto`` for a GPU where there is one.

    Raises:
        UsageError: There is no such trial, it has failed, its network was quantized by another library, its file is broken,
            or the weights are not those of the trial.
    """
    record = store.find(trial_id)
    path = _state_file(store, record)
    _check_file(record, path)
    target = device_of(device)
    loaded = load_model(_architecture(record), weights)
    _check_weights(record, loaded)
    _load_methods(record)
    preprocessing = _preprocessing(record["spec"]["preprocessing"])
    model = quantizable(loaded.network, preprocessing.input_size, loaded.name, block_pattern(loaded.architecture))
    try:
        load_state(model, path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read: {type(error).__name__}: {error}", f"run it again: {record['command']} --force"
        ) from error
    model.arithmetic = record["spec"].get("arithmetic", FLOAT)
    return QuantizedNetwork(model.to(target), preprocessing, record)


def _load_methods(record: Record) -> None:
    """Import the methods of the trial: their modules bring the number formats that its file may name.

    Raises:
        UsageError: One is not installed here.
    """
    for name in [step["name"] for step in record["spec"]["stack"]]:
        known = registry.available()
        if name not in known:
            raise UsageError(
                f"trial {record['id']} was quantized by {name!r}, which is not here: {registry.unknown_method(name, known)}",
                f"install the package that brings {name!r}; records do not name it",
            )
        registry.load(name)


def _state_file(store: Store, record: Record) -> Path:
    """The file of the trial's quantizers.

    Raises:
        UsageError: The trial has none.
    """
    trial = record["id"]
    if record["status"] != "done":
        error = record["error"]
        reason = f"it has {record['status']} ({error['kind']}: {' '.join(error['message'].split())})"
        raise UsageError(f"trial {trial} has no quantized network: {reason}", f"run it again: {record['command']}")
    path = store.folder(trial) / STATE
    if path.is_file():
        return path
    if "imported" in record:
        why = f"its record comes from {record['imported'].get('from', 'elsewhere')}, which holds the file"
        raise UsageError(f"trial {trial} has no file of quantizers: {why}", f"make it here: harness run --trial {trial}")
    if path.name in record.get("files", {}):
        hint = f"make it again, and keep the folder of the trial: {record['command']} --force"
        raise UsageError(f"trial {trial} has no file of quantizers: {path} was deleted", hint)
    raise UsageError(
        f"trial {trial} has no file of quantizers: another library quantized its network ({record['stack']}), "
        f"or {path} was deleted"
    )


def _check_file(record: Record, path: Path) -> None:
    """The file must be the one that the trial wrote, where its record knows the hash.

    Raises:
        UsageError: It was changed, or cannot be read.
    """
    expected = record.get("files", {}).get(path.name)
    try:
        if expected is None or sha256_of(path) == expected:
            return
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason_of(error)}") from error
    raise UsageError(f"{path} is not the file that the trial wrote", f"run it again: {record['command']} --force")


def _architecture(record: Record) -> str:
    """What timm builds: records of networks from files are called by the file's content."""
    return str(record.get("asked", {}).get("model", record["model"]))


def _check_weights(record: Record, loaded: LoadedModel) -> None:
    expected = record["spec"]["weights_sha256"]
    if loaded.weights_sha256 != expected:
        raise UsageError(
            f"trial {record['id']} was run on weights {expected} of {record['model']}, "
            f"those of {loaded.weights_source} are {loaded.weights_sha256}",
            "give its weights file with weights=PATH",
        )


def _preprocessing(values: dict[str, Any]) -> Preprocessing:
    """The preprocessing that a record states: the inverse of ``Preprocessing.as_dict``."""
    read: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Preprocessing(**read)
