"""Synthetic calibration images in a store: made once for each network, source, count and seed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from harness.store.artifacts import Artifact
from harness.store.prefix_states import PrefixStates
from harness.store.store import Store
from harness.trial.record import Stage


class SyntheticImages:
    """The file of one set of images.

    Args:
        store: The store.
        origin: Id of the network, the source and the draw.
    """

    def __init__(self, store: Store, origin: str) -> None:
        self._artifact = Artifact(PrefixStates(store).folder(origin) / "images.safetensors", store.root)

    def load(self) -> tuple[Tensor, Stage, dict[str, Any]] | None:
        """The images ``(n, c, h, w)``, what they cost and on which machine; None if they are not there or broken."""
        return self._artifact.load(lambda tensors, about: (tensors["images"], about["stage"], about["environment"]))

    def save(self, images: Tensor, stage: Stage, environment: dict[str, Any]) -> None:
        """Keep images with what they cost."""
        self._artifact.save({"images": images}, {"stage": stage, "environment": environment})
