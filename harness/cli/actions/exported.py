"""Finding what is to be timed: an exported file and the float32 model of the same network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from harness.cli.actions.export import LIBRARIES, paired
from harness.cli.actions.run import repeated
from harness.deploy.runtime import needing
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.store.reading import contents, reason_of, sha256_of
from harness.store.store import Store
from harness.trial.identity import is_id
from harness.trial.record import Record

MANIFEST, FLOAT32 = "manifest.json", "float32.onnx"  # beside an exported file
SUFFIXES = (".onnx", ".xml")  # of exported files; anything else is the id of a trial
MOST_BYTES = 2**24  # of a manifest


class Pair(NamedTuple):
    """Two files to time against each other.

    Attributes:
        quantized: The exported one.
        float32: The same network in full precision.
        trial: Id of a record in the store that the measurement belongs to; None where there is none.
        about: What is measured, in a line.
        why_not_kept: Why there is no trial; empty where there is.
    """

    quantized: Path
    float32: Path
    trial: str | None
    about: str
    why_not_kept: str


def pair_of(arguments: argparse.Namespace, store: Store, folder: Path, progress: Progress) -> Pair:
    """The files of what was asked for.

    Args:
        arguments: ``what``, ``float32``, ``weights``, ``data``, ``runtime``, ``threads``.
        store: Where the trial's record is.
        folder: For files that are made.
        progress: Hears what is made.

    Raises:
        UsageError: There is no such file or trial, it cannot be exported, or the float32 model is not to be had.
    """
    file = Path(arguments.what)
    if file.suffix in SUFFIXES or os.path.isfile(file):
        return _of_file(file, arguments, store, folder, progress)
    return _of_trial(arguments, store, folder, progress)


def _of_trial(arguments: argparse.Namespace, store: Store, folder: Path, progress: Progress) -> Pair:
    """A finished trial, exported for this; its gate must let it through, for what computes something else is no latency."""
    record = store.find(arguments.what)
    made: Any = needing(LIBRARIES, "export", "harness.deploy.export")
    here = {} if arguments.weights is None else {"weights": arguments.weights}
    here |= {} if arguments.data is None else {"data": arguments.data}
    target = "openvino" if arguments.runtime == "openvino" else "onnx"
    out, spec = folder / "exported", repeated(record, here)
    wanted = made.Wanted(record["id"], spec, target, out, threads=arguments.threads)
    manifest = made.export(store, wanted, paired(made), progress)
    float32 = arguments.float32 or made_float32(record, folder, spec.weights, progress)
    return Pair(out / manifest["file"], float32, record["id"], told(record), "")


def _of_file(file: Path, arguments: argparse.Namespace, store: Store, folder: Path, progress: Progress) -> Pair:
    if not file.is_file():
        raise UsageError(f"{str(file)!r} {'is no file' if os.path.lexists(file) else 'does not exist'}")
    manifest = _manifest_of(file)
    trial = None if manifest is None else manifest["record"]
    record = store.stored(trial) if trial is not None else None
    float32 = arguments.float32 or _beside(file)
    if float32 is None:
        if record is None:
            why = f"its trial {trial} is not in {store.root}" if trial else "no manifest.json beside it names its trial"
            raise UsageError(f"the float32 model of {str(file)!r} is not known: {why}", "give it with --float FILE")
        float32 = made_float32(record, folder, arguments.weights, progress)
    about = f"{file.name} beside {float32.name}" + (f", {told(record)}" if record is not None else "")
    why_not = "" if record is not None else "no record of this store belongs to the file"
    if manifest is not None and manifest.get("changes"):
        why_not = f"it is not the network of trial {trial}: {manifest['changes']}"
    return Pair(file, float32, record["id"] if record is not None and not why_not else None, about, why_not)


def made_float32(record: Record, folder: Path, weights: Path | None, progress: Progress) -> Path:
    """The float32 model of a trial's network, exported into a folder."""
    progress.say("export the float32 model")
    path = folder / FLOAT32
    needing(LIBRARIES, "export", "harness.deploy.float_model").write_float32(record, path, weights)
    return path


def told(record: Record) -> str:
    """A trial in a line."""
    return f"trial {record['id']}: {record['stack']} {record['bits']} on {record['model']}"


def _beside(file: Path) -> Path | None:
    path = file.parent / FLOAT32
    return path if path.is_file() and path != file else None


def _manifest_of(file: Path) -> dict[str, Any] | None:
    """The manifest beside a file; None where there is none. Its trial is looked up by its id and never becomes a path.

    Raises:
        UsageError: It cannot be read, names no trial, or is of another file.
    """
    path = file.parent / MANIFEST
    try:
        found = from_json(contents(path, MOST_BYTES))
        digest = sha256_of(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {reason_of(error)}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is no manifest: {error}") from error
    trial = found.get("record") if isinstance(found, dict) else None
    if not isinstance(trial, str) or not is_id(trial):
        raise UsageError(f"{str(path)!r} names no trial: expected an object with the id of its record")
    files = found.get("files")
    listed = files.get(file.name) if isinstance(files, dict) else None
    if not isinstance(listed, dict) or listed.get("sha256") != digest:
        raise UsageError(f"{str(file)!r} is not the file of {MANIFEST} beside it: it was changed, or comes from elsewhere")
    manifest: dict[str, Any] = found
    return manifest
