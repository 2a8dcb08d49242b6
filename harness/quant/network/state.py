"""Write what methods changed in a model to a safetensors file and read it back. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.quant.network.qmodel import QuantizedModel

PARTED = "parted_shifts"  # this state says which part of its bias shifts belongs to transforms


def state_of(model: QuantizedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything methods changed: tensors by name, and plain JSON facts.

    Raises:
        FormatError: A quantizer's number format could not be read back.
    """
    tensors, facts = model.edits.state()
    return tensors, {**facts, PARTED: True} if model.bias_shifts else facts


def restore(model: QuantizedModel, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace the model's quantizers and corrections by those of a state.

    Raises:
        KeyError: The state names a site that this model does not have, or a kind of edit that is not known.
        FormatError: The state has a number format that is not known.
    """
    unknown = [name for name in facts["quantizers"] if name not in model.sites]
    if unknown:
        raise KeyError(f"{model.name} has no site {unknown[0]} ({len(unknown)} unknown sites in the state)")
    model.clear()
    model.edits.restore(tensors, facts, model.device)
    if PARTED not in facts:
        _part_shifts(model)


def _part_shifts(model: QuantizedModel) -> None:
    """An older state does not say whose a shift is: where a transform replaced the weight, it is the transform's."""
    for name, operation in model.weights.items():
        if name in model.replaced_weights and operation.node in model.bias_shifts:
            model.transform_shifts[operation.node] = model.bias_shifts[operation.node]


def save_state(model: QuantizedModel, path: Path) -> None:
    """Write the model's state to a safetensors file; the facts go into its header.

    Raises:
        FormatError: A quantizer's number format could not be read back; nothing is written.
    """
    tensors, facts = state_of(model)
    save_file(tensors, path, metadata={"facts": json.dumps(facts, sort_keys=True)})


def load_state(model: QuantizedModel, path: Path) -> None:
    """Read a state written by ``save_state`` into the model.

    Raises:
        KeyError, FormatError: As in ``restore``.
    """
    with safe_open(path, framework="pt") as handle:
        facts = json.loads(handle.metadata()["facts"])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (safe_open is no mapping)
    restore(model, tensors, facts)
