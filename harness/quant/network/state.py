"""Write a model's quantizers to a safetensors file and read them back. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.quant.format.registration import read, written
from harness.quant.network.qmodel import QuantizedModel

_QUANTIZER, _BIAS, _NORM = "quantizer/", "bias_shift/", "norm/"
_WEIGHT, _ROUNDED, _BESIDE = "weight/", "rounded/", "compensation/"


def state_of(model: QuantizedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything methods changed: tensors by name, and plain JSON facts."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"quantizers": {}, "integer_norms": sorted(model.integer_norms)}
    for name, quantizer in model.quantizers.items():
        parts, facts["quantizers"][name] = written(quantizer)
        tensors.update({f"{_QUANTIZER}{name}/{part}": _own(tensor) for part, tensor in parts.items()})
    for name, shift in model.bias_shifts.items():
        tensors[_BIAS + name] = _own(shift)
    for prefix, weights in ((_WEIGHT, model.replaced_weights), (_ROUNDED, model.rounded_weights)):
        for name, weight in weights.items():
            tensors[prefix + name] = _own(weight)
    for prefix, pairs in ((_NORM, model.replaced_norms), (_BESIDE, model.compensations)):
        for name, (weight, bias) in pairs.items():
            tensors[f"{prefix}{name}/weight"] = _own(weight)
            tensors[f"{prefix}{name}/bias"] = _own(bias)
    return tensors, facts


def _own(tensor: Tensor) -> Tensor:
    """A copy that shares memory with nothing: safetensors refuses tensors that do."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def restore(model: QuantizedModel, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace the model's quantizers and corrections by those of a state.

    Raises:
        KeyError: The state names a site that this model does not have.
    """
    unknown = [name for name in facts["quantizers"] if name not in model.sites]
    if unknown:
        raise KeyError(f"{model.name} has no site {unknown[0]} ({len(unknown)} unknown sites in the state)")
    model.clear()
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in facts["quantizers"]}
    for key, tensor in tensors.items():
        if key.startswith(_QUANTIZER):
            name, _, part = key.removeprefix(_QUANTIZER).rpartition("/")
            parts[name][part] = tensor.to(model.device)
    for name, metadata in facts["quantizers"].items():
        model.quantizers[name] = read(parts[name], metadata)
    for name, tensor in tensors.items():
        if name.startswith(_BIAS):
            model.bias_shifts[name.removeprefix(_BIAS)] = tensor.to(model.device)
        elif name.startswith(_WEIGHT):
            model.replaced_weights[name.removeprefix(_WEIGHT)] = tensor.to(model.device)
        elif name.startswith(_ROUNDED):
            model.rounded_weights[name.removeprefix(_ROUNDED)] = tensor.to(model.device)
        elif name.startswith((_NORM, _BESIDE)) and name.endswith("/weight"):
            prefix, pairs = (_NORM, model.replaced_norms) if name.startswith(_NORM) else (_BESIDE, model.compensations)
            key = name.removeprefix(prefix).removesuffix("/weight")
            bias = tensors[f"{prefix}{key}/bias"]
            pairs[key] = tensor.to(model.device), bias.to(model.device)
    model.integer_norms.update(facts["integer_norms"])


def save_state(model: QuantizedModel, path: Path) -> None:
    """Write the model's state to a safetensors file; the facts go into its header."""
    tensors, facts = state_of(model)
    save_file(tensors, path, metadata={"facts": json.dumps(facts, sort_keys=True)})


def load_state(model: QuantizedModel, path: Path) -> None:
    """Read a state written by ``save_state`` into the model."""
    with safe_open(path, framework="pt") as handle:
        facts = json.loads(handle.metadata()["facts"])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (safe_open is no mapping)
    restore(model, tensors, facts)
