"""Work saved for later: tensors with JSON facts in one safetensors file. All of it can be deleted at any time.

Used for stack prefixes, synthetic calibration images, full-precision logits and the state of interrupted searches. What
cannot be read or written is named in a warning and done without: it is work saved, not results. Files are written aside
and renamed; nothing is unpickled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import UsageError
from harness.store.inside import inside
from harness.store.reading import ABOUT
from harness.store.store import write_aside

T = TypeVar("T")
log = logging.getLogger(__name__)

# What a truncated, foreign or older file can raise, when it is read and when its content is used.
BROKEN = (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError)
UNWRITABLE = (SafetensorError, OSError)  # a full disk; safetensors has its own error for it


@dataclass(frozen=True)
class Artifact:
    """One file of tensors and facts.

    Attributes:
        path: Where it lies.
        root: The store that it belongs to: nothing is written through a link that leads out of it. None for no store.
    """

    path: Path
    root: Path | None = None

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.is_file()

    def load(self, use: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T | None:
        """Read the file and let ``use`` make something of it.

        Args:
            use: Gets the tensors (on the CPU) by name and the facts. When it fails because they are not what it expects,
                the file counts as broken; what it had changed until then is for the caller to undo.

        Returns:
            What ``use`` returns; None when there is no file, or it is broken, which a warning says.
        """
        if not self.exists:
            return None
        try:
            with safe_open(self.path, framework="pt") as handle:
                about = json.loads(handle.metadata()[ABOUT])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (safe_open is no mapping)
            return use(tensors, about)
        except BROKEN as error:
            log.warning("%s is not used: %s: %s", self.path, type(error).__name__, error)
            return None

    def save(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bool:
        """Write the file; where that is not possible a warning says so, for a trial can do without.

        Args:
            tensors: By name, on any device; they may share memory.
            about: Plain JSON values; their order stays.

        Returns:
            Whether it was written.

        Raises:
            TypeError: ``about`` holds something that JSON cannot express.
        """
        own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        facts = {ABOUT: json.dumps(about)}
        try:
            self._folder().mkdir(parents=True, exist_ok=True)
            write_aside(self.path, lambda path: save_file(own, path, metadata=facts))
        except (*UNWRITABLE, UsageError) as error:
            log.warning("%s is not written: %s: %s", self.path, type(error).__name__, error)
            return False
        return True

    def remove(self) -> None:
        """Delete the file if it is there; on a disk that became read-only it stays, which a warning says."""
        try:
            (self._folder() / self.path.name).unlink(missing_ok=True)
        except (OSError, UsageError) as error:
            log.warning("%s is not deleted: %s", self.path, error)

    def _folder(self) -> Path:
        return self.path.parent if self.root is None else inside(self.root, self.path.parent)
