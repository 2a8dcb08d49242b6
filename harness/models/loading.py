"""Load a full-precision timm model: weights from a file or a folder, from timm's download, or the embedded ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import set_fused_attn
from torch import Tensor, nn

from harness.embedded import assets
from harness.embedded.architecture import ARCHITECTURE, TAG
from harness.errors import ModelError, nearest
from harness.models.cards import cards
from harness.models.checkpoint import CONFIG, LAYOUT, TENSORS, read_configuration
from harness.trial.identity import tensors_sha256

LOCAL = ".file-"  # stands where a tag would stand; no tag of timm has a hyphen
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INDICES = (torch.int64, torch.int32)  # counters and tables of positions
EMBEDDED_ALIASES = ("embedded", "default")


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode and what identifies it.

    Attributes:
        name: ``arch.tag``; ``arch.file-`` and eight digits of the weights' hash for a file that is not known to hold the
            tag's weights.
        architecture: ``arch.tag`` as timm builds it: what decides blocks and preprocessing, whatever the weights are.
        network: The network.
        classes: Number of logits; 0 for a network without a classifier, which gives features.
        weights_sha256: Hash over all parameters and buffers.
        weights_source: Where the weights came from.
    """

    name: str
    architecture: str
    network: nn.Module
    classes: int
    weights_sha256: str
    weights_source: str


def full_name(name: str) -> str:
    """The embedded model's name for its aliases, other names unchanged."""
    return f"{ARCHITECTURE}.{TAG}" if name in (*EMBEDDED_ALIASES, ARCHITECTURE) else name


def load_model(name: str, weights: Path | None = None) -> LoadedModel:
    """Build a timm model and load its weights.

    Args:
        name: ``arch`` or ``arch.tag`` as timm writes it, or ``embedded``.
        weights: A safetensors file in timm's naming, whose classifier may have any number of classes, or a folder with
            ``config.json`` and ``model.safetensors``, which says the architecture; None means the embedded file or timm's
            download.

    Raises:
        ModelError: Unknown model, or weights that are missing, corrupt, of another network, or not finite.
    """
    name = full_name(name)
    if LOCAL in name:
        raise ModelError(f"{name!r} names weights of a file, not a model of timm", _from_file(name))
    if weights is not None and os.path.isdir(weights):
        return _from_folder(name, weights)
    local = weights is not None
    if weights is None and name == full_name("embedded"):
        weights = assets.WEIGHTS
    if weights is None:
        return _loaded(_build(name, pretrained=True), name, "timm download", local=False)
    return _loaded(_with_weights(name, weights), name, f"file {weights.name}", local=local)


def _loaded(network: nn.Module, name: str, source: str, *, local: bool) -> LoadedModel:
    state = network.state_dict()
    _check_finite(state, name)
    built, sha256 = _with_tag(network, name), tensors_sha256(state)
    called = named_by_content(built, sha256) if local else built
    return LoadedModel(called, built, network.eval(), int(getattr(network, "num_classes", 0) or 0), sha256, source)


def _with_weights(name: str, path: Path) -> nn.Module:
    """The network with the weights of a file, and with as many classes as they have."""
    network = _build(name, pretrained=False)
    tensors = _tensors(path)
    rows = _other_classes(network, tensors)
    if rows is not None:
        network = _build(name, pretrained=False, num_classes=rows)
    _load_weights(network, tensors, path, name)
    return network


def _other_classes(network: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """Number of classes of a file's classifier where it is not the network's own."""
    classifier = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    expected = network.state_dict()
    for layer in (classifier,) if isinstance(classifier, str) else classifier:
        own, given = expected.get(f"{layer}.weight"), tensors.get(f"{layer}.weight")
        if own is not None and given is not None and own.shape[1:] == given.shape[1:] and len(given) not in (0, len(own)):
            return len(given)
    return None


def _from_folder(name: str, folder: Path) -> LoadedModel:
    """The network of a checkpoint's folder.

    Raises:
        ModelError: The folder is none, timm cannot build what it says, or another architecture was asked for.
    """
    found = read_configuration(folder)
    asked = name.partition(".")[0]
    if asked not in (found.architecture, ARCHITECTURE):  # the latter also where no model was asked for
        raise ModelError(
            f"{str(folder / CONFIG)!r} is of architecture {found.architecture!r}, --model says {name!r}",
            "leave out --model: the folder says what it is",
        )
    try:
        network = _build(found.architecture, pretrained=False, **found.options)
    except ModelError:
        raise
    except Exception as error:  # constructors raise nearly anything
        raise ModelError(f"timm cannot build what {str(folder / CONFIG)!r} says: {_first_line(error)}", LAYOUT) from error
    path = folder / TENSORS
    _load_weights(network, _tensors(path), path, found.architecture)
    return _loaded(network, found.architecture, f"folder {folder.name}", local=True)


def named_by_content(architecture: str, sha256: str) -> str:
    """What a network with weights from a file is called: its tag only where the card knows the hash of the tag's weights."""
    card = cards().get(architecture)
    if card is not None and card.weights_sha256 == sha256:
        return architecture
    return f"{architecture.partition('.')[0]}{LOCAL}{sha256[:8]}"


def _from_file(name: str) -> str:
    return f"give the file and the architecture: --model {name.partition('.')[0]} --weights FILE.safetensors"


def _with_tag(network: nn.Module, name: str) -> str:
    tag = getattr(network, "pretrained_cfg", {}).get("tag")
    return name if "." in name or not tag else f"{name}.{tag}"


def _build(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    set_fused_attn(False)  # fused attention hides the softmax and both matrix products from capture
    if not timm.is_model(name.partition(".")[0]):
        raise ModelError(f"unknown model {name!r}.{nearest(name, timm.list_models())} See: harness list models --timm '*'")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except RuntimeError as error:  # timm: unknown tag, or no pretrained weights for it
        raise ModelError(f"timm cannot build {name!r}: {_first_line(error)}", _tags(name)) from error
    except Exception as error:
        if not pretrained:
            raise
        raise ModelError(
            f"the weights of {name!r} could not be downloaded: {_first_line(error)}",
            "without internet access, give a file with --weights FILE.safetensors, or use --model embedded",
        ) from error
    return network


def _tags(name: str) -> str:
    known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    return f"known tags: {', '.join(known)}" if known else "give a file with --weights FILE.safetensors"


def _tensors(path: Path) -> dict[str, Tensor]:
    if not os.path.isfile(path):
        what = "is no file" if os.path.exists(path) else "does not exist"
        raise ModelError(f"weights file {str(path)!r} {what}", LAYOUT)
    return _read(path)


def _load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str) -> None:
    expected = network.state_dict()
    problems = [
        *_listed("is missing", [key for key in expected if key not in tensors]),
        *_listed("is not part of the model", [key for key in tensors if key not in expected]),
        *_listed("has another shape", [k for k in expected if k in tensors and expected[k].shape != tensors[k].shape]),
        *_wrong_types(expected, tensors),
    ]
    if problems:
        raise ModelError(f"weights file {str(path)!r} does not fit {name}: {'; '.join(problems)}")
    network.load_state_dict(tensors)


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ModelError: The file is broken, or torch has no such type of number.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"weights file {str(path)!r} is no readable safetensors file: {_first_line(error)}") from error


def _wrong_types(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Tensors whose numbers cannot stand for the network's: codes without their scales, truth values, complex numbers."""
    wrong = [key for key in expected if key in tensors and not _fits(tensors[key].dtype, expected[key].dtype)]
    more = f" (and {len(wrong) - 1} more of a wrong type)" if len(wrong) > 1 else ""
    return [f"{key} is {_type(tensors[key])}, expected {_wanted(expected[key])}{more}" for key in wrong[:1]]


def _fits(given: torch.dtype, expected: torch.dtype) -> bool:
    return given == expected or (expected in FLOATS and given in FLOATS) or (expected in INDICES and given in INDICES)


def _wanted(tensor: Tensor) -> str:
    types = FLOATS if tensor.dtype in FLOATS else INDICES if tensor.dtype in INDICES else (tensor.dtype,)
    return " or ".join(str(one).removeprefix("torch.") for one in types)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return [f"{', '.join(names[:2])}{more} {what}"] if names else []


def _check_finite(state: Mapping[str, Tensor], name: str) -> None:
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"weights of {name} are not finite: tensor {key} contains NaN or infinity")


def _first_line(error: BaseException) -> str:
    lines: list[Any] = str(error).strip().split("\n")
    text = "".join(one if one.isprintable() else "?" for one in lines[0][:200]) if lines else ""  # timm repeats what it got
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
