"""Content hashes: what a trial is, independent of where and how it runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor  # ids are needed where torch is not: in looking at sweeps

ID_VERSION = 1
ID_LENGTH = 16
_ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")


def content_id(payload: Mapping[str, Any], version: int = ID_VERSION) -> str:
    """16 hexadecimal digits of the SHA-256 of a plain JSON payload in canonical form.

    Args:
        payload: What is identified.
        version: Of the identity; an earlier one only to tell how an earlier record got its id.

    Raises:
        ValueError: The payload contains NaN or infinity.
        TypeError: The payload contains something that JSON cannot express.
    """
    text = json.dumps({"id_version": version, **payload}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
