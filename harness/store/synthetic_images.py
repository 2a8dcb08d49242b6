"""Generated calibration images in a store: made once for each network, source, count and seed."""

from __future__ import annotations

import json
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.store.prefix_states import PrefixStates
from harness.store.store import Store, write_aside
from harness.trial.record import Stage


class GeneratedImages:
    """The file of one set of images; it can be deleted at any time.

    Args:
        store: The store.
        origin: Id of the network, the source and the draw.
    """

    def __init__(self, store: Store, origin: str) -> None:
        self.path = PrefixStates(store).folder(origin) / "images.safetensors"

    def load(self) -> tuple[Tensor, Stage, dict[str, Any]] | None:
        """The images, what they cost and on which machine; None if they are not there.

        Raises:
            OSError, SafetensorError, KeyError, ValueError: The file is broken.
        """
        if not self.path.is_file():
            return None
        with safe_open(self.path, framework="pt") as handle:
            about = json.loads(handle.metadata()["about"])
            return handle.get_tensor("images"), about["stage"], about["environment"]

    def save(self, images: Tensor, stage: Stage, environment: dict[str, Any]) -> None:
        """Keep images with what they cost."""
        about = json.dumps({"stage": stage, "environment": environment}, sort_keys=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(self.path, lambda path: save_file({"images": images.cpu()}, path, metadata={"about": about}))
