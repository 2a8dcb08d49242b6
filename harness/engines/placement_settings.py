"""The settings by which schemes offer a placement, worded and checked alike in all of them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from harness.method.settings import JOINED
from harness.quant.calibrate.placement import Sites

SITES: Final = (
    "what is quantized: the output of every operation (values), what products read (operands), or inputs and symmetric "
    "weights of linear operations and convolutions only, which integer kernels compute (deploy)"
)
AnySites = Annotated[Sites, Field(description=SITES, json_schema_extra=JOINED)]
OperandSites = Annotated[Literal["operands", "deploy"], Field(description=SITES, json_schema_extra=JOINED)]
AttentionProducts = Annotated[
    bool, Field(description="sites=deploy: quantize what attention's products read too", json_schema_extra=JOINED)
]

ONLY_DEPLOY: Final[dict[str, Any]] = {"attention": False}  # a switch of one placement: elsewhere it would say nothing
