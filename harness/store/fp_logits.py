"""Full-precision logits of the evaluation images: the same for every trial of a network, so they are computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.store.artifacts import Artifact
from harness.store.store import Store, sharded
from harness.trial.fields import Part
from harness.trial.identity import content_id
from harness.trial.spec import identity_fields

KEPT_BYTES = 2**30  # 50,000 images with 1,000 classes are 200 MB; larger heads are computed again


class Evaluable(Protocol):
    """A model with quantized and full-precision logits."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: Tensor) -> Tensor:
        """Quantized logits."""

    def full_precision(self, images: Tensor) -> Tensor:
        """Full-precision logits."""


class Reference:
    """Full-precision logits in the order of the evaluation images; this base class computes and keeps them in memory."""

    def __init__(self) -> None:
        self.known: Tensor | None = None
        self.seconds = 0.0
        self._computed: list[Tensor] = []

    def logits(self, model: Evaluable, images: Tensor, start: int) -> Tensor:
        """Logits ``(n, classes)`` of the evaluation images ``start`` to ``start + n``."""
        if self.known is not None:
            return self.known[start : start + len(images)].to(model.device)
        began = time.perf_counter()
        logits = model.full_precision(images)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        self.seconds += time.perf_counter() - began
        self._computed.append(logits.cpu())
        return logits


class StoredReference(Reference):
    """Logits that lie in the store as ``logits/<first two digits>/<id>.safetensors``.

    Args:
        store: The store.
        identity: A trial's identity.
        batch: Evaluation batch: another batch size rounds differently.
        environment: The record's facts about device and versions, for the same reason.
        read: Use stored logits; otherwise they are computed again.
    """

    def __init__(
        self, store: Store, identity: Mapping[str, Any], batch: int, environment: Mapping[str, Any], *, read: bool = True
    ) -> None:
        super().__init__()
        names = ["model", "weights_sha256", "data_fingerprint", "preprocessing"]
        names += [name for name in identity_fields(Part.NETWORK, Part.DATA, Part.EVALUATION) if name in identity]
        machine = {name: environment[name] for name in ("device", "cpu", "threads")}
        torch_version = environment["versions"]["torch"]
        payload = {name: identity[name] for name in names}
        key = content_id({"what": "logits", "batch": batch, "torch": torch_version, **machine, **payload})
        self._artifact = Artifact(sharded(store.root / "logits", key).with_suffix(".safetensors"), store.root)
        known = self._artifact.load(lambda tensors, about: (tensors["logits"], float(about["seconds"]))) if read else None
        if known is not None:
            self.known, self.seconds = known

    def save(self) -> None:
        """Keep what was computed."""
        computed = torch.cat(self._computed)
        if computed.nbytes <= KEPT_BYTES:
            self._artifact.save({"logits": computed}, {"seconds": self.seconds})
