"""The settings by which schemes offer a placement, worded and refused alike in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from harness.errors import Problem
from harness.method.settings import JOINED
from harness.quant.calibrate.placement import Placement, Sites

SITES: Final = (
    "what is quantized: the output of every operation (values), what products read (operands), or inputs and symmetric "
    "weights of linear operations and convolutions only, which integer kernels compute (deploy)"
)
AnySites = Annotated[Sites, Field(description=SITES, json_schema_extra=JOINED)]
OperandSites = Annotated[Literal["operands", "deploy"], Field(description=SITES, json_schema_extra=JOINED)]
ValueSites = Annotated[Literal["values"], Field(description=SITES, json_schema_extra=JOINED)]
AttentionProducts = Annotated[
    bool, Field(description="sites=deploy: quantize what attention's products read too", json_schema_extra=JOINED)
]
OuterImage = Annotated[
    Literal["full", "quantized"],
    Field(description="the input image: as it is, or quantized to at least eight bits", json_schema_extra=JOINED),
]


class PlacedOperands:
    """Settings of a scheme over operands: ``sites``, ``attention`` and ``image`` say where its quantizers sit."""

    sites: Literal["operands", "deploy"]
    attention: bool
    image: Literal["full", "quantized"]

    @property
    def placement(self) -> Placement:
        """Where the quantizers sit."""
        return Placement(self.sites, image=self.image == "quantized", attention=self.attention)


Implies = Mapping[str, Mapping[str, Mapping[str, Any]]]
Refused = Mapping[str, Mapping[str, Problem]]
ONLY_DEPLOY: Final[Mapping[str, Any]] = {"attention": False}  # a switch of one placement: elsewhere it would say nothing


def operands_or_deploy(**fixed: Any) -> Implies:
    """What the placements of a scheme over operands fix: ``fixed`` are its settings whose formats integers compute."""
    return {"sites": {"operands": ONLY_DEPLOY, "deploy": fixed}}


NO_VALUES: Final[Refused] = {
    "sites": {
        "values": Problem(
            "its formats are chosen for what products read, and a value has many readers",
            "use sites=operands or sites=deploy, or a scheme over values: minmax, ema, percentile, fqvit",
        )
    }
}
