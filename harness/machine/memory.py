"""A budget for tensors that a method keeps: what does not fit goes to disk, oldest first, and is read back when needed.

Spilled tensors lie in a folder of their own below the system's folder for temporary files (``TMPDIR``) and disappear with
the objects that own them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import overload

import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import DiskError
from harness.machine.disk import explained

WORKERS_VARIABLE = "HARNESS_WORKERS"  # set by the local launcher: processes that share this machine
AUTO_SHARE = 0.5  # of the memory that is free when a process starts


class Kept(Sequence[Tensor]):
    """Tensors in memory, or on disk after ``spill``; an index reads one of them, ``select`` rows of all of them.

    Both give the same values in the same memory layout wherever the tensors are: operations may add up in another order
    otherwise.

    Args:
        tensors: For example batches of one segment's inputs. Not to be changed in place.

    Attributes:
        nbytes: Bytes in memory.
        total_bytes: Bytes in memory and on disk.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self.nbytes = 0
        self.total_bytes = 0
        self._tensors: list[Tensor | None] = []  # None: on disk
        self._layouts: list[Tensor] = []  # on the device "meta": shapes and strides without memory
        self._device = torch.device("cpu")
        self._folder: Path | None = None
        for tensor in tensors:
            self.add(tensor)

    @property
    def rows(self) -> int:
        """Rows of all tensors together: images, where the tensors are batches."""
        return sum(map(len, self._layouts))

    def add(self, tensor: Tensor) -> None:
        """Keep one more tensor, in memory."""
        self._device = tensor.device
        self._tensors.append(tensor)
        self._layouts.append(torch.empty_like(tensor, device="meta"))
        self.nbytes += tensor.nbytes
        self.total_bytes += tensor.nbytes

    def spill(self) -> int:
        """Write what is in memory to disk and let go of it; returns its bytes.

        Raises:
            DiskError: It cannot be written.
        """
        if not self.nbytes:
            return 0
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="harness-spilled-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for index, tensor in enumerate(self._tensors):
            if tensor is not None:
                self._write(index, tensor)
                self._tensors[index] = None
        written, self.nbytes = self.nbytes, 0
        return written

    def _write(self, index: int, tensor: Tensor) -> None:
        path = self._file(index)
        try:
            save_file({"x": tensor.cpu().contiguous()}, path)
        except (SafetensorError, OSError) as error:
            path.unlink(missing_ok=True)
            raise DiskError(
                f"what does not fit into the memory budget cannot be written to {path.parent}: {explained(error)}",
                "set TMPDIR to a folder on another disk, or give more memory with --memory",
            ) from error

    def select(self, rows: Tensor) -> Tensor:
        """Rows by their numbers, counted through all tensors: ``torch.cat(list(self))[rows]`` without all of it in memory.

        Args:
            rows: Integers ``(n,)`` from 0, in any order. On the CPU: to read them from a GPU is to wait for it.

        Raises:
            IndexError: There is no such row.
        """
        ends = list(accumulate(map(len, self._layouts)))
        found: list[Tensor] = []
        for row in rows.tolist():
            if not 0 <= row < self.rows:
                raise IndexError(f"row {row} of {self.rows} rows")
            index = bisect_right(ends, row)
            found.append(self._row(index, row - ends[index] + len(self._layouts[index])))
        together = torch.cat(found)
        # The layout that torch.cat gives all tensors; a row alone, or one from disk, may have another.
        last = all(map(_is_channels_last, self._layouts))
        return together.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def _row(self, index: int, row: int) -> Tensor:
        tensor = self._tensors[index]
        if tensor is not None:
            return tensor[row : row + 1]
        with safe_open(self._file(index), framework="pt", device=str(self._device)) as handle:
            part: Tensor = handle.get_slice("x")[row : row + 1]
        return part

    def _file(self, index: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{index}.safetensors"

    def __len__(self) -> int:
        return len(self._tensors)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        tensor, layout = self._tensors[index], self._layouts[index]
        if tensor is not None:
            return tensor
        with safe_open(self._file(index % len(self)), framework="pt", device=str(self._device)) as handle:
            loaded: Tensor = handle.get_tensor("x")
        if loaded.stride() == layout.stride():
            return loaded
        return torch.empty_strided(layout.shape, layout.stride(), dtype=loaded.dtype, device=loaded.device).copy_(loaded)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


@dataclass
class Usage:
    """What went through a budget in some time.

    Attributes:
        kept_bytes: The most that was held at once, in memory and on disk together: a budget of that size spills nothing.
        spilled_bytes: Written to disk.
    """

    kept_bytes: int = 0
    spilled_bytes: int = 0

    def facts(self) -> dict[str, int]:
        """Both numbers, for a record; zeros are left out."""
        return {name: count for name, count in vars(self).items() if count}


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
        self._measured: weakref.WeakSet[Kept] = weakref.WeakSet()  # those held since the measured time began
        self._most = 0

    def keep(self, tensors: Iterable[Tensor]) -> Kept:
        """Hold tensors; the oldest of what is held goes to disk until the rest fits (the new ones go last).

        Args:
            tensors: Taken one after the other, so that those of a generator are never all in memory if they do not fit.
        """
        new = Kept()
        self._held.append(weakref.ref(new))
        self._measured.add(new)
        for tensor in tensors:
            self.add(new, tensor)
        return new

    def add(self, kept: Kept, tensor: Tensor) -> None:
        """Hold one more tensor beside what ``keep`` returned."""
        kept.add(tensor)
        self._fit()

    @contextmanager
    def measured(self) -> Iterator[Usage]:
        """Measure what is kept during a ``with`` block; what was held before does not count.

        Yields:
            The numbers, complete after the block.
        """
        usage, spilled = Usage(), self.spilled_bytes
        self._measured, self._most = weakref.WeakSet(), 0
        try:
            yield usage
        finally:
            usage.kept_bytes, usage.spilled_bytes = self._most, self.spilled_bytes - spilled

    def _fit(self) -> None:
        """Spill until the rest fits."""
        self._most = max(self._most, sum(kept.total_bytes for kept in self._measured))
        alive = [kept for reference in self._held if (kept := reference()) is not None]
        self._held = [weakref.ref(kept) for kept in alive]
        in_memory = sum(kept.nbytes for kept in alive)
        for kept in alive:
            if in_memory <= self.limit:
                break
            freed = kept.spill()
            in_memory -= freed
            self.spilled_bytes += freed


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
