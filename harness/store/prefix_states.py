"""Stack prefixes: trials that begin with the same steps compute these steps once.

``<store>/states/<first two digits>/<prefix id>/`` holds ``state.safetensors``, then ``stages.json`` (what the steps
cost), written last; while a search runs there, ``partial.safetensors`` (``harness/method/checkpoint.py``). All of it can be
deleted at any time: it is work saved, not results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.quant.network.qmodel import QuantizedModel
from harness.quant.network.state import load_state, save_state
from harness.store.store import Store, write_aside, write_json
from harness.trial.identity import content_id
from harness.trial.record import Stage


def origin_id(identity: Mapping[str, Any]) -> str:
    """Id of the network and the calibration images of a trial: what every step starts from."""
    images = "calib_source" if "calib_source" in identity else "data_fingerprint"
    names = ("model", "weights_sha256", images, "preprocessing", "calib", "seed")
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
            del payload["eval_limit"]
        ids.append(content_id(payload))
    return tuple(ids)


class PrefixStates:
    """The states of stack prefixes in a store."""

    def __init__(self, store: Store) -> None:
        self._root = store.root / "states"

    def folder(self, prefix: str) -> Path:
        """Where a prefix's files are."""
        return self._root / prefix[:2] / prefix

    def has(self, prefix: str) -> bool:
        """Whether the prefix is complete."""
        return (self.folder(prefix) / "stages.json").is_file()

    def longest(self, prefixes: Sequence[str]) -> int:
        """How many steps of a stack need not be computed."""
        return next((length for length in range(len(prefixes), 0, -1) if self.has(prefixes[length - 1])), 0)

    def load(self, model: QuantizedModel, prefix: str) -> tuple[list[Stage], dict[str, Any]]:
        """Put a prefix's state into the model.

        Returns:
            What its steps cost, and on which machine and commit they ran.

        Raises:
            OSError, ValueError, KeyError, TypeError, SafetensorError: The files are broken or of another network.
        """
        about = json.loads((self.folder(prefix) / "stages.json").read_text(encoding="utf-8"))
        load_state(model, self.folder(prefix) / "state.safetensors")
        return about["stages"], about["environment"]

    def save(self, model: QuantizedModel, prefix: str, stages: list[Stage], environment: dict[str, Any]) -> None:
        """Keep the model's state as that of a prefix, and drop the partial state of its search."""
        folder = self.folder(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        write_aside(folder / "state.safetensors", lambda path: save_state(model, path))
        write_json(folder / "stages.json", {"stages": stages, "environment": environment})
