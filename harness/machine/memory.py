"""A budget for tensors that a search keeps: what does not fit goes to disk, oldest first, and is read back when needed.

Spilled tensors lie in a folder of their own below the system's folder for temporary files (``TMPDIR``) and disappear with
the objects that own them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WORKERS_VARIABLE = "HARNESS_WORKERS"  # set by the local launcher: processes that share this machine
AUTO_SHARE = 0.5  # of the memory that is free when a process starts


class Kept(Sequence[Tensor]):
    """Tensors in memory, or on disk after ``spill``; an index reads one of them.

    Args:
        tensors: Batches of one segment input. Not to be changed in place.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors: list[Tensor] | None = list(tensors)
        self._count = len(tensors)
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._folder: Path | None = None
        self._channels_last = bool(tensors) and _is_channels_last(tensors[0])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(tensor.nbytes for tensor in self._tensors or [])

    def spill(self) -> int:
        """Write the tensors to disk and let go of them; returns their bytes."""
        if self._tensors is None:
            return 0
        written = self.nbytes
        self._folder = Path(tempfile.mkdtemp(prefix="harness-spilled-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for index, tensor in enumerate(self._tensors):
            save_file({"x": tensor.cpu().contiguous()}, self._folder / f"{index}.safetensors")
        self._tensors = None
        return written

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self._tensors is not None:
            return self._tensors[index]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        assert self._folder is not None
        path = self._folder / f"{index % len(self)}.safetensors"
        tensor = load_file(path, device=str(self._device))["x"]
        # The same layout as before: convolutions may add up in another order otherwise.
        return tensor.contiguous(memory_format=torch.channels_last) if self._channels_last else tensor


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


class Budget:
    """Bounds the memory of everything that is kept through it.

    Args:
        limit: Bytes; None for half of what is free now.
        device: Where the tensors are.

    Attributes:
        limit: Bytes.
        spilled_bytes: Bytes written to disk so far.
    """

    def __init__(self, limit: int | None = None, device: torch.device | None = None) -> None:
        self.limit = limit if limit is not None else int(free_bytes(device or torch.device("cpu")) * AUTO_SHARE)
        self.spilled_bytes = 0
        self._held: list[weakref.ref[Kept]] = []

    def keep(self, tensors: Sequence[Tensor]) -> Kept:
        """Hold tensors; the oldest of what is held goes to disk until the rest fits (the new ones go last)."""
        new = Kept(tensors)
        alive = [kept for reference in self._held if (kept := reference()) is not None and kept.nbytes]
        held = sum(kept.nbytes for kept in alive) + new.nbytes
        for kept in [*alive, new]:
            if held <= self.limit:
                break
            freed = kept.spill()
            held -= freed
            self.spilled_bytes += freed
        self._held = [weakref.ref(kept) for kept in [*alive, new]]
        return new


def free_bytes(device: torch.device) -> int:
    """Memory that this process may count on: free on its GPU, or its part of what this machine or SLURM job has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    job = os.environ.get("SLURM_MEM_PER_NODE", "")  # MiB; the node may have more than the job
    if job.isdigit() and int(job):
        free = min(free, int(job) * 2**20)
    return free // int(os.environ.get(WORKERS_VARIABLE) or 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on a GPU or not; torch has several ways to say so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
