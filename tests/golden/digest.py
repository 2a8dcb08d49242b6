"""A state in two sizes: a hash that any changed bit changes, and a few numbers that hold on other machines."""

import hashlib
import json
import math
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

# How far means over all tensors of a kind may lie apart on different machines, relative to their root mean square.
# Measured with kernels of another instruction set (ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE
# ONEDNN_MAX_CPU_ISA=SSE41), where no state keeps all its bits: at most 2e-5 where ranges are collected; where steps are
# searched or learned 4e-3 and once 0.025 (EasyQuant: one operand takes the next factor). Between an AMD and an Intel CPU
# QwT alone has more, 0.083: biases near zero, solved from few images, move the mean of logarithms.
COLLECTED, SEARCHED, SOLVED = 1e-3, 0.05, 0.1


@dataclass(frozen=True)
class State:
    """What a trial's methods left behind.

    Attributes:
        digests: Hash over all tensors and facts, by the machine that computed it.
        facts: Hash over the facts alone: which site has what kind of quantizer.
        summary: By kind of tensor: how many, how many numbers, their mean, root mean square and mean logarithm.
    """

    digests: dict[str, str]
    facts: str
    summary: dict[str, dict[str, float]]


def machine() -> str:
    """What decides the last bits of a sum: processor, instruction set, library."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    facts = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", told, re.MULTILINE))
    processor = " ".join(facts[name] for name in ("model name", "cpu family", "model") if name in facts)
    chosen = torch.backends.cpu.get_cpu_capability()
    return f"{processor or platform.processor()}, {chosen}, torch {torch.__version__}"


def read_state(path: Path, machine: str) -> State:
    """Read what ``save_state`` wrote, without the code that reads it for the harness."""
    with safe_open(path, framework="pt") as handle:
        facts = json.dumps(json.loads(handle.metadata()["facts"]), sort_keys=True)
        tensors = {name: handle.get_tensor(name) for name in sorted(handle.keys())}
    whole = hashlib.sha256(facts.encode())
    for name, tensor in tensors.items():
        whole.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        whole.update(tensor.contiguous().numpy().tobytes())
    return State({machine: whole.hexdigest()}, hashlib.sha256(facts.encode()).hexdigest(), summary_of(tensors))


def kind_of(name: str) -> str:
    """``quantizer/blocks.0.attn.qkv.weight/scale`` is a ``quantizer of a weight/scale``."""
    kind, _, rest = name.partition("/")
    if kind != "quantizer":
        return kind + ("/" + rest.rpartition("/")[2] if "/" in rest else "")
    site, _, part = rest.rpartition("/")
    place = "weight" if site.endswith(".weight") else "operand" if site.endswith("]") else "value"
    return f"quantizer of {place}/{part}"


def summary_of(tensors: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """A few numbers by kind of tensor."""
    kinds: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        kinds.setdefault(kind_of(name), []).append(tensor.double().flatten())
    return {kind: _numbers(parts) for kind, parts in sorted(kinds.items())}


def _numbers(parts: list[Tensor]) -> dict[str, float]:
    every = torch.cat(parts)
    filled = every[every != 0].abs()
    return {
        "tensors": len(parts),
        "numbers": len(every),
        "mean": _short(every.mean()) if len(every) else 0.0,
        "rms": _short(every.square().mean().sqrt()) if len(every) else 0.0,
        "log": _short(filled.log().mean()) if len(filled) else 0.0,
    }


def _short(value: Tensor) -> float:
    return float(f"{value.item():.7g}")


def far_apart(kind: str, ours: dict[str, float], theirs: dict[str, float], tolerance: float) -> list[str]:
    """What differs between two summaries of one kind by more than machines do; one text each."""
    scale = max(abs(ours["rms"]), abs(theirs["rms"]))
    bounds = {"tensors": 0.0, "numbers": 0.0, "mean": tolerance * scale, "rms": tolerance * scale, "log": tolerance}
    return [
        f"{kind}: {what} {theirs[what]:.7g} -> {ours[what]:.7g}"
        for what, bound in bounds.items()
        if not math.isclose(ours[what], theirs[what], rel_tol=0.0, abs_tol=bound)
    ]
