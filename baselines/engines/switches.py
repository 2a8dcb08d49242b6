"""What tells the methods of the reconstruction engine apart, and the settings by which several of them offer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

LossName = Literal["mse", "tenth", "fisher", "fima", "aphq", "lsvit"]
# Of the predictions of FIMA-Q and APHQ-ViT, in their released configurations; LS-ViT is taken to have it from them.
TEMPERATURES = {"fima": 20.0, "aphq": 20.0, "lsvit": 20.0}
DropShare = Annotated[float, Field(ge=0, le=1, description="share of activations and inputs left unquantized (QDrop)")]
ScaleRate = Annotated[float, Field(ge=0, description="learning rate of activation scales, cosine schedule")]
BY_DIVERGENCE = ("tenth", "fima", "aphq", "lsvit")  # these compare the classifier's logits by their divergence


@dataclass(frozen=True)
class Switches:
    """What tells the methods apart.

    Attributes:
        unit: ``block`` (segments) or ``layer``.
        inputs: What a unit reads: outputs of the quantized network so far, of the full-precision one, or a mixture (blocks
            only).
        activations: Whether activations are quantized while roundings are learned.
        drop: Share of activations left unquantized while learning, and of the mixture's full-precision elements.
        scale_lr: Learning rate of activation scales; 0 leaves them alone.
        scale_steps: Steps of a stage of its own for scales, behind that of the roundings: blocks read full-precision inputs;
            0: scales are learned with the roundings.
        scale_power: Exponent of that stage's error.
        loss: ``mse``; ``tenth`` of it; weighted by ``fisher`` (squared gradients), ``fima`` (diagonal and low-rank Fisher
            information), ``aphq`` (average perturbation Hessian) or ``lsvit`` (least-squares Hessian).
        rank: Number of pairs of ``fima``.
        first: Whether the network's first weight is learned too.
    """

    unit: Literal["layer", "block"] = "block"
    inputs: Literal["quantized", "full", "mixed"] = "quantized"
    activations: Literal["quantized", "full"] = "quantized"
    drop: float = 0.0
    scale_lr: float = 0.0
    scale_steps: int = 0
    scale_power: float = 2.0
    loss: LossName = "mse"
    rank: int = 5
    first: bool = True
