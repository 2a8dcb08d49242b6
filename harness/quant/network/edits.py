"""What methods changed in a network, as one value: moved, cleared, saved and restored together.

Each field of ``Edits`` says in its metadata how it is moved and stored: a new kind of edit is a new field, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from harness.quant.format.base import NumberFormat
from harness.quant.format.registration import read, written

Pair = tuple[Tensor, Tensor]
KIND = "kind"  # key of a field's metadata


class Tensors:
    """A tensor by name, stored as ``<key>/<name>``.

    Args:
        key: First part of the names of its tensors in a state; unique among the kinds of edits.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def moved(self, edits: Any, device: torch.device) -> Any:
        """The same edits on another device."""
        return {name: value.to(device) for name, value in edits.items()}

    def state(self, edits: Any) -> tuple[dict[str, Tensor], Any]:
        """Tensors by what follows the key, and plain JSON facts; None for no facts."""
        return dict(edits), None

    def restored(self, tensors: dict[str, Tensor], facts: Any) -> Any:
        """The edits whose ``state()`` this is; facts are None where the state has none."""
        return tensors


class Pairs(Tensors):
    """A weight and a bias by name, stored as ``<key>/<name>/weight`` and ``<key>/<name>/bias``."""

    def moved(self, edits: Any, device: torch.device) -> Any:
        """The same pairs on another device."""
        return {name: (weight.to(device), bias.to(device)) for name, (weight, bias) in edits.items()}

    def state(self, edits: Any) -> tuple[dict[str, Tensor], Any]:
        """Two tensors for each."""
        parts = {name: dict(zip(("weight", "bias"), pair, strict=True)) for name, pair in edits.items()}
        return _joined(parts), None

    def restored(self, tensors: dict[str, Tensor], facts: Any) -> Any:
        """Both tensors of each."""
        return {name: (parts["weight"], parts["bias"]) for name, parts in _parted(tensors).items()}


class Formats(Tensors):
    """A number format by site, stored as ``<key>/<site>/<tensor>`` and its facts."""

    def state(self, edits: Any) -> tuple[dict[str, Tensor], Any]:
        """Tensors and facts of each.

        Raises:
            FormatError: A format could not be read back.
        """
        states = {name: written(quantizer) for name, quantizer in edits.items()}
        return _joined({name: own for name, (own, _) in states.items()}), {
            name: about for name, (_, about) in states.items()
        }

    def restored(self, tensors: dict[str, Tensor], facts: Any) -> Any:
        """The formats.

        Raises:
            FormatError: A format's name is not known.
        """
        parts = _parted(tensors)
        return {name: read(parts.get(name, {}), about) for name, about in (facts or {}).items()}


class Names(Tensors):
    """A set of names, stored among the facts.

    Args:
        key: As above.
        always: An empty set is stored too, as states did before there were others.
    """

    def __init__(self, key: str, *, always: bool = False) -> None:
        super().__init__(key)
        self.always = always

    def moved(self, edits: Any, device: torch.device) -> Any:
        """The same names."""
        return set(edits)

    def state(self, edits: Any) -> tuple[dict[str, Tensor], Any]:
        """Sorted, so that equal sets give equal bytes."""
        return {}, sorted(edits) if edits or self.always else None

    def restored(self, tensors: dict[str, Tensor], facts: Any) -> Any:
        """The names."""
        return set(facts or ())


class Numbers(Tensors):
    """A whole number by name, stored among the facts."""

    def moved(self, edits: Any, device: torch.device) -> Any:
        """The same numbers."""
        return dict(edits)

    def state(self, edits: Any) -> tuple[dict[str, Tensor], Any]:
        """The numbers; None for none, so that states without them are what they were."""
        return {}, dict(edits) or None

    def restored(self, tensors: dict[str, Tensor], facts: Any) -> Any:
        """The numbers."""
        return dict(facts or {})


@dataclass
class Edits:
    """Everything methods changed in a network. Assign to entries; the values themselves are never changed in place.

    Attributes:
        quantizers: Number formats by site name; a site without one stays in full precision.
        bias_shifts: Added to the bias of the operation with this node name (empirical bias correction, transforms).
        transform_shifts: The part of ``bias_shifts`` that belongs to a transform: with it and the replaced weights the
            network computes what it computed before. The rest corrects what quantization did.
        replaced_weights: Weights that methods put in the place of the full-precision ones, by site name (transforms).
        rounded_weights: What quantizers get instead of the weight, by site name: already rounded onto their grids.
        replaced_norms: Weight and bias of layer norms in the place of the full-precision ones, by node name.
        replaced_constants: Constants (position embeddings, tokens) in the place of the network's own, by node name.
        rms_norms: Node names of the layer norms that leave the mean in: root mean square norms.
        turned_streams: Names of the residual streams that an orthogonal matrix has turned: between segments the
            transformed network holds other values than the network's own.
        rectified: Node names of the activation functions that ReLU replaces: an altered network (``altered``).
        compensations: Weight and bias of a linear layer beside a block, by the segment's name: ``x W + b`` is added to the
            quantized block's output.
        integer_norms: Node names of the layer norms that run on integers.
        undefined_norms: Those of them that divide by zero where all codes of a token are equal, as FQ-ViT's release does.
        float_norms: Node names of the layer norms that ran on integers until they were made to run in floating point:
            another network than the stack's (``altered``).
        widths: Bits of sites that a step has chosen for the steps after it, by site name.
    """

    quantizers: dict[str, NumberFormat] = field(default_factory=dict, metadata={KIND: Formats("quantizer")})
    bias_shifts: dict[str, Tensor] = field(default_factory=dict, metadata={KIND: Tensors("bias_shift")})
    transform_shifts: dict[str, Tensor] = field(default_factory=dict, metadata={KIND: Tensors("transform_shift")})
    replaced_weights: dict[str, Tensor] = field(default_factory=dict, metadata={KIND: Tensors("weight")})
    rounded_weights: dict[str, Tensor] = field(default_factory=dict, metadata={KIND: Tensors("rounded")})
    replaced_norms: dict[str, Pair] = field(default_factory=dict, metadata={KIND: Pairs("norm")})
    replaced_constants: dict[str, Tensor] = field(default_factory=dict, metadata={KIND: Tensors("constant")})
    rms_norms: set[str] = field(default_factory=set, metadata={KIND: Names("rms_norm")})
    turned_streams: set[str] = field(default_factory=set, metadata={KIND: Names("turned_stream")})
    rectified: set[str] = field(default_factory=set, metadata={KIND: Names("rectified")})
    compensations: dict[str, Pair] = field(default_factory=dict, metadata={KIND: Pairs("compensation")})
    integer_norms: set[str] = field(default_factory=set, metadata={KIND: Names("integer_norm", always=True)})
    undefined_norms: set[str] = field(default_factory=set, metadata={KIND: Names("undefined_norm")})
    float_norms: set[str] = field(default_factory=set, metadata={KIND: Names("float_norm")})
    widths: dict[str, int] = field(default_factory=dict, metadata={KIND: Numbers("width")})

    def to(self, device: torch.device) -> None:
        """Move all of it."""
        for name, kind in self._kinds():
            getattr(self, name).update(kind.moved(getattr(self, name), device))

    def clear(self) -> None:
        """Forget all of it: the full-precision network again."""
        for name, _ in self._kinds():
            getattr(self, name).clear()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, copies on the CPU that share memory with nothing, and plain JSON facts by kind.

        Raises:
            FormatError: A quantizer's number format could not be read back.
        """
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}
        for name, kind in self._kinds():
            own, about = kind.state(getattr(self, name))
            tensors.update({f"{kind.key}/{key}": _copied(tensor) for key, tensor in own.items()})
            if about is not None:
                facts[name] = about
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any], device: torch.device) -> None:
        """Become what ``state()`` described.

        Raises:
            KeyError: The state has tensors of a kind that is not known here.
            FormatError: A number format is not known.
        """
        kinds = self._kinds()
        own: dict[str, dict[str, Tensor]] = {kind.key: {} for _, kind in kinds}
        for key, tensor in tensors.items():
            first, _, rest = key.partition("/")
            if first not in own:
                raise KeyError(f"a state with {key!r}, which is no known kind of edit ({', '.join(own)})")
            own[first][rest] = tensor.to(device)
        restored = {name: kind.restored(own[kind.key], facts.get(name)) for name, kind in kinds}
        self.clear()
        for name, edits in restored.items():
            getattr(self, name).update(edits)

    def _kinds(self) -> list[tuple[str, Tensors]]:
        return [(one.name, one.metadata[KIND]) for one in fields(self)]


def _joined(parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}/{part}": tensor for name, own in parts.items() for part, tensor in own.items()}


def _parted(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition("/")
        parts.setdefault(name, {})[part] = tensor
    return parts


def _copied(tensor: Tensor) -> Tensor:
    """Safetensors refuses tensors that share memory."""
    return tensor.detach().to("cpu", copy=True).contiguous()
