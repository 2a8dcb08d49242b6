"""How image files become batches: in this process or in several, kept for the next time or not. No value depends on it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from harness.data.pixel_cache import PixelCache
from harness.data.pixel_file import Shape
from harness.errors import DataError

T = TypeVar("T")
CPU = torch.device("cpu")
MOST_WORKERS = 8  # beyond that the disk decides
SOCKET = "/pymp-12345678/listener-12345678"  # as multiprocessing calls them
LONGEST_SOCKET = 103  # bytes of a path that every system takes: Linux 107, macOS 103
AT_ONCE = 3  # batches of a worker that lie ready, are being made, or are in use
SHARED = "/dev/shm"
WORKERS_VARIABLE = "HARNESS_WORKERS"  # set by launchers: processes of ours that share this machine


@dataclass(frozen=True)
class Decoding:
    """How a data source makes pixels.

    Attributes:
        cache: Where decoded images are kept; None to decode them every time.
        device: Where images are wanted.
    """

    cache: PixelCache | None = None
    device: torch.device = CPU


@dataclass(frozen=True)
class DecodedSet:
    """Images of a trial as the cache would keep them.

    Attributes:
        key: Hash of all that decides their pixels.
        shape: How many there are, and how large.
    """

    key: str
    shape: Shape


class Readable(Protocol):
    """Images that can be decoded one by one; an error comes as a value, because a worker would send it on as a traceback."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image and its label."""


def most_workers() -> int:
    """Worker processes that this process may have: its part of the cores that it may use."""
    if not sockets_fit():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get(WORKERS_VARIABLE) or 1)))


def sockets_fit() -> bool:
    """Whether the folder for temporary files has a path short enough for the sockets over which processes hand over tensors.

    Where it is too long a worker cannot send what it made, and who waits for it would wait for ever.
    """
    return len(os.fsencode(tempfile.gettempdir())) + len(SOCKET) <= LONGEST_SOCKET


def worthwhile(images: int, seconds_each: float, start: Callable[[int], float] | None = None) -> int:
    """Worker processes that decode faster than this process alone; 0 where none do.

    Args:
        images: Still to be decoded.
        seconds_each: What one takes here.
        start: Seconds to start and end so many workers, measured when it is asked for the first time.
    """
    workers = min(most_workers(), images)
    saved = images * seconds_each * (1 - 1 / workers) if workers > 1 else 0.0
    return workers if saved > 0 and saved > (start or seconds_to_start)(workers) else 0


@cache
def seconds_to_start(workers: int) -> float:
    """What it takes to start and end worker processes that have nothing to do."""
    began = time.perf_counter()
    for _ in _loader(Subset(_Nothing(), range(workers)), 1, workers):
        pass
    return time.perf_counter() - began


def room_between_processes(nbytes: int) -> bool:
    """Whether worker processes can hand over so much at a time: containers often have little shared memory."""
    try:
        room = os.statvfs(SHARED)
    except (OSError, AttributeError):  # systems without it do otherwise
        return True
    return nbytes < room.f_bavail * room.f_frsize


class _Nothing(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def _loader(images: Dataset[Any], size: int, workers: int) -> DataLoader[Any]:
    """Batches in order; with a generator of its own, because a loader draws a seed, also where nothing is random."""
    own = torch.Generator()
    return DataLoader(images, batch_size=size, num_workers=workers, collate_fn=_collated, generator=own)


def decoded(images: Readable, size: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels in batches and in order.

    The first batch is decoded here, which tells what an image takes; where worker processes would finish the others sooner
    than they take to start, they decode them.

    Args:
        images: What there is.
        size: Of a batch.
        first: Begin with this image.

    Raises:
        DataError: A file cannot be read.
    """
    if first >= len(images):
        return
    began = time.perf_counter()
    second = min(first + size, len(images))
    batch = _good(_collated([images[index] for index in range(first, second)]))
    seconds = (time.perf_counter() - began) / (second - first)
    yield batch
    rest: Subset[tuple[Tensor, int] | DataError] = Subset(images, range(second, len(images)))  # type: ignore[arg-type]
    if len(rest):
        workers = worthwhile(len(rest), seconds)
        workers = workers if room_between_processes(workers * AT_ONCE * batch[0].nbytes) else 0
        yield from map(_good, _loader(rest, size, workers))


def _collated(items: list[Any]) -> Any:
    """A batch, or the first error in it."""
    error = next((item for item in items if isinstance(item, DataError)), None)
    return default_collate(items) if error is None else error


def _good(batch: list[Tensor] | DataError) -> tuple[Tensor, Tensor]:
    if isinstance(batch, DataError):
        raise batch
    images, labels = batch
    return images, labels


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is in use: for a device that computes by itself."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def onto(device: torch.device, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches with the images on a device; a GPU copies them from pinned memory while it computes."""
    if device.type != "cuda":
        yield from batches
        return
    for images, labels in ahead((images.pin_memory(), labels) for images, labels in batches):
        yield images.to(device, non_blocking=True), labels
