"""Stack prefixes: trials that begin with the same steps compute these steps once.

``<store>/states/<first two digits>/<prefix id>/`` holds ``prefix.safetensors`` (the network's state and what the steps
cost); while a search runs there, ``partial.safetensors`` (``harness/method/checkpoint.py``). All of it can be deleted at
any time: it is work saved, not results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import restore, state_of
from harness.store.artifacts import Artifact
from harness.store.store import Store, sharded
from harness.trial.fields import Part
from harness.trial.identity import content_id
from harness.trial.record import Stage
from harness.trial.spec import identity_fields

CALIBRATION_FINGERPRINT = "calibration_fingerprint"  # content of the drawn images, where the data's fingerprint lacks it


def origin_id(identity: Mapping[str, Any]) -> str:
    """Id of the network and the calibration images of a trial: what every step starts from."""
    images = "calib_source" if "calib_source" in identity else "data_fingerprint"
    names = ["model", "weights_sha256", images, "preprocessing"]
    names += [CALIBRATION_FINGERPRINT] if CALIBRATION_FINGERPRINT in identity else []
    names += [name for name in identity_fields(Part.NETWORK, Part.DATA, Part.CALIBRATION) if name in identity]
    return content_id({"what": "origin", **{name: identity[name] for name in names}})


def prefix_ids(identity: Mapping[str, Any], protocols: Sequence[str]) -> tuple[str, ...]:
    """Ids of the first step, the first two steps, ... of a trial's stack.

    Args:
        identity: The trial's identity.
        protocols: Protocol of each step: from a ``paper`` step on, the evaluation images are part of the identity.
    """
    ids = []
    for length in range(1, len(identity["stack"]) + 1):
        payload = {**identity, "what": "prefix", "stack": identity["stack"][:length]}
        if "paper" not in protocols[:length]:
            for name in identity_fields(Part.EVALUATION):
                payload.pop(name, None)
        ids.append(content_id(payload))
    return tuple(ids)


class PrefixStates:
    """The states of stack prefixes in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store.root
        self._root = store.root / "states"

    def folder(self, prefix: str) -> Path:
        """Where a prefix's files are."""
        return sharded(self._root, prefix)

    def partial(self, prefix: str) -> Path:
        """Where the search that ends a prefix keeps its state while it runs."""
        return self.folder(prefix) / "partial.safetensors"

    def has(self, prefix: str) -> bool:
        """Whether the prefix is complete."""
        return self._state(prefix).exists

    def complete(self) -> frozenset[str]:
        """Ids of all complete prefixes, by one listing: for a plan of many trials."""
        return frozenset(path.parent.name for path in self._root.glob("*/*/prefix.safetensors"))

    def longest(self, prefixes: Sequence[str]) -> int:
        """How many steps of a stack need not be computed."""
        return next((length for length in range(len(prefixes), 0, -1) if self.has(prefixes[length - 1])), 0)

    def load(self, model: QuantizedModel, prefix: str) -> tuple[list[Stage], dict[str, Any]] | None:
        """Put a prefix's state into the model.

        Returns:
            What its steps cost, and on which machine and commit they ran. None when the file is broken or of another
            network: a warning says so, and the model has no quantizers then.
        """

        def use(tensors: dict[str, Tensor], about: dict[str, Any]) -> tuple[list[Stage], dict[str, Any]]:
            restore(model, tensors, about["facts"])
            return about["stages"], about["environment"]

        found = self._state(prefix).load(use)
        if found is None:
            model.clear()
        return found

    def save(self, model: QuantizedModel, prefix: str, stages: list[Stage], environment: dict[str, Any]) -> bool:
        """Keep the model's state as that of a prefix; returns whether it could be written."""
        tensors, facts = state_of(model)
        return self._state(prefix).save(tensors, {"facts": facts, "stages": stages, "environment": environment})

    def _state(self, prefix: str) -> Artifact:
        return Artifact(self.folder(prefix) / "prefix.safetensors", self._store)
