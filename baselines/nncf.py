"""NNCF: post-training quantization of transformers with SmoothQuant and bias correction, as that library does it."""

from __future__ import annotations

import copy
import logging
import math
import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import nncf
import torch
from pydantic import Field
from torch import nn

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Place
from harness.method.base import Context, Method
from harness.method.registration import Role, register
from harness.quant.network.external import External, ExternalSite
from harness.quant.network.qmodel import QuantizedModel
from harness.trial.bits import FULL, Bits

WIDTH = 8


@dataclass(frozen=True)
class NncfConfig:
    """Settings of ``nncf``."""

    transformer: Annotated[
        bool, Field(description="the library's scheme for transformers, with SmoothQuant; false: its general one")
    ] = True


@register("nncf", role=Role.SCHEME, version=1, extra="nncf", paper="NNCF: nncf.quantize")
class Nncf(Method[NncfConfig]):
    """8-bit weights and activations where NNCF puts quantizers, with its SmoothQuant and fast bias correction."""

    Config = NncfConfig

    def check_bits(self, bits: Bits) -> None:
        """Eight bits, nothing else."""
        if not bits.uniform:
            raise IncompatibleError(f"nncf has one width for all tensors, asked for {bits}", f"use --bits {bits.base}")
        if not bits.full_precision and {bits.weight, bits.activation, bits.softmax} != {WIDTH}:
            raise IncompatibleError(f"nncf quantizes weights and activations to 8 bits, asked for {bits}", "use --bits w8a8")

    def apply(self, model: QuantizedModel, calibration: CalibrationSet, context: Context) -> None:
        """One calibration image at a time, as in the library's examples."""
        if context.bits.weight == FULL:
            return
        assert model.network is not None
        network = copy.deepcopy(model.network).to(model.device).eval()
        images = [image[None] for image in calibration.images]
        logging.getLogger("nncf").setLevel(logging.ERROR)
        kind = nncf.ModelType.TRANSFORMER if self.config.transformer else None
        with context.progress.task("nncf", 0):
            network = nncf.quantize(network, nncf.Dataset(images), model_type=kind, subset_size=len(images))
        model.external = _described(model, network, context)
        context.notes["library"] = model.external.library


@torch.no_grad()
def _described(model: QuantizedModel, network: nn.Module, context: Context) -> External:
    """The library's quantizers at our sites; those that stand for none of ours go into the notes."""
    sites: dict[str, ExternalSite] = {}
    weights: dict[str, torch.Tensor] = {}
    unknown = []
    for path, module in network.named_modules():
        kind = type(module).__name__
        if kind not in ("SymmetricQuantizer", "AsymmetricQuantizer"):
            continue
        names, scales = _names(model, path), math.prod(module.scale_shape)
        zero_points = scales if kind == "AsymmetricQuantizer" else 0
        site = ExternalSite(module.num_bits, "channel" if scales > 1 else "tensor", scales, zero_points)
        sites |= dict.fromkeys(names, site)
        weights |= {name: module(network.get_parameter(name)) for name in names if name in model.weights}
        unknown += [] if names else [path]
    context.notes.update(quantizers=len(sites) + len(unknown), quantizers_at_no_known_site=unknown)
    return External(f"nncf {version('nncf')}", network, sites, weights)


# The library names a hook by the path of the operation: module path, operation, number, port, number of the hook.
_WEIGHT = re.compile(r"(?P<module>.+)/(linear|conv2d)/0__1\.0")
_INPUT = re.compile(r"(?P<module>.+)/(linear|conv2d)/0__0\.0|(?P<smoothed>.+)/pre_hook__.+/mul/0__0\.0")
_QUERY, _KEY = re.compile(r"(?P<module>.+)/mul/0__0\.0"), re.compile(r"(?P<module>.+)/transpose/0__0\.0")


def _names(model: QuantizedModel, path: str) -> list[str]:
    """Our sites that a quantizer of this path stands for; none where it stands for something else."""
    hook = path.partition("_hooks.")[2].partition("_hooks.")[2]
    if "/" not in hook:
        images = [site for site in model.sites.values() if site.kind is Kind.INPUT and site.place is Place.OPERAND]
        return [site.name for site in images]
    candidates: list[str] = []
    if match := _WEIGHT.fullmatch(hook):
        candidates = [f"{match['module']}.weight"]
    elif match := _INPUT.fullmatch(hook):
        module = match["module"] or match["smoothed"]
        candidates = [f"{module}:linear[x]", f"{module}:conv[x]"]
    elif match := _QUERY.fullmatch(hook):
        candidates = [f"{match['module']}:matmul[a]"]
    elif match := _KEY.fullmatch(hook):
        candidates = [f"{match['module']}:matmul[b]"]
    names = [name.replace("/", ".") for name in candidates]
    return [name for name in names if name in model.sites]
