"""Files of tensors in a store: is each whole, and of the kind that belongs in its place?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from harness.store.reading import ABOUT, BrokenFile, read_record, sha256_of
from harness.store.store import Store

UNREADABLE = (SafetensorError, OSError, ValueError, TypeError, RuntimeError, RecursionError)

Shapes = dict[str, tuple[str, list[int]]]


def check_quantizers(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The network's state of a finished trial: readable, and the one that its record was written with."""
    yield from _checked(path, "facts", {"quantizers": dict})
    record = read_record(path.parent / "record.json")
    if record is None or isinstance(record, BrokenFile):
        return
    expected = record.get("files", {}).get(path.name)
    if expected is not None and expected != sha256_of(path):
        yield BrokenFile(path, "is not the file that the record was written with: its hash is another")


def check_prefix(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The state after the first steps of a stack."""
    yield from _checked(path, ABOUT, {"facts": dict, "stages": list, "environment": dict})


def check_partial(store: Store, path: Path) -> Iterator[BrokenFile]:
    """The state of a search that was interrupted."""
    yield from _checked(path, ABOUT, {"model": dict, "own": dict, "seconds": (int, float), "image_forwards": (int, float)})


def check_images(store: Store, path: Path) -> Iterator[BrokenFile]:
    """Synthetic calibration images ``(n, c, h, w)``."""
    yield from _checked(path, ABOUT, {"stage": dict, "environment": dict}, lambda shapes: _has(shapes, "images", 4))


def check_logits(store: Store, path: Path) -> Iterator[BrokenFile]:
    """Full-precision logits ``(n, classes)``."""
    yield from _checked(path, ABOUT, {"seconds": (int, float)}, lambda shapes: _has(shapes, "logits", 2))


def _checked(
    path: Path, key: str, expected: dict[str, Any], shapes: Callable[[Shapes], str] = lambda _: ""
) -> Iterator[BrokenFile]:
    """What is wrong with a file's header; the tensors themselves are not read.

    Args:
        path: The file.
        key: Where its facts are, as JSON.
        expected: Type by name of each fact.
        shapes: Says what is wrong with the tensors; empty for nothing.
    """
    try:
        with safe_open(path, framework="numpy") as handle:  # its length is checked against the header
            facts = json.loads((handle.metadata() or {})[key])
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118 (safe_open is no mapping)
            found = {name: (one.get_dtype(), list(one.get_shape())) for name, one in slices.items()}
        wrong = next((name for name, kind in expected.items() if not isinstance(facts[name], kind)), None)
        reason = shapes(found) if wrong is None else f"its fact {wrong!r} is of type {type(facts[wrong]).__name__}"
    except KeyError as error:
        reason = f"is of another kind: it has no fact {error}"
    except UNREADABLE as error:
        reason = f"not readable: {type(error).__name__}: {error}"
    if reason:
        yield BrokenFile(path, reason)


def _has(shapes: Shapes, name: str, axes: int) -> str:
    kind, shape = shapes.get(name, ("", []))
    found = f"{kind} {shape}" if name in shapes else "none"
    return (
        "" if len(shape) == axes and kind.startswith(("F", "BF")) else f"expected {name!r} with {axes} axes, found {found}"
    )
