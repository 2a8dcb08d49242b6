"""Weights that are damaged, of another kind, of another network, or no numbers."""

import itertools
import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.embedded.assets import WEIGHTS
from harness.run.prepare import prepare
from harness.run.run_trial import TrialResult
from tests.hostile.damage import BYTES
from tests.hostile.known import param
from tests.hostile.texts import ESCAPE, PATHS, TEXTS
from tests.hostile.world import WORDS, Case, settle
from tests.store.test_store import record

GOOD = load_file(WEIGHTS)
FIRST = next(name for name, tensor in GOOD.items() if tensor.ndim > 1)
KINDS = ["int8", "uint8", "int64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2"]


@pytest.fixture
def run(world, monkeypatch):
    """Loads and checks the weights, and ends where the work would begin."""

    def checked(spec, store, progress, **how):
        prepared = prepare(spec)
        metrics = {**record()["metrics"], "top5": 90.0, "logit_sqnr_db": 1.0}
        return TrialResult(record(prepared.id, metrics=metrics), False)

    monkeypatch.setattr("harness.run.run_trial.run_trial", checked)

    def attempt(label, path, fails=True, given=None):
        words = ["run", "--method", "minmax", "--weights", str(path), "--quiet", *WORDS]
        return world.attempt("weights", Case(label, words, given or (path.name,), fails))

    return attempt


def changed(name, change):
    return {**GOOD, name: change(GOOD[name].clone())}


def renamed(tensors, old, new):
    return {new if name == old else name: tensor for name, tensor in tensors.items()}


# Tensors that can be read but are not the network's.
TENSORS = {
    **{f"all {kind}": {name: t.abs().to(getattr(torch, kind)) for name, t in GOOD.items()} for kind in KINDS},
    **{f"one {kind}": changed(FIRST, lambda t, k=kind: t.abs().to(getattr(torch, k))) for kind in KINDS},
    "nan": changed(FIRST, lambda t: t.fill_(float("nan"))),
    "infinite": changed(FIRST, lambda t: t.fill_(float("inf"))),
    "one infinite": changed(FIRST, lambda t: t.index_fill_(0, torch.tensor([0]), float("-inf"))),
    "missing": {name: tensor for name, tensor in GOOD.items() if name != FIRST},
    "more": {**GOOD, "more": torch.zeros(1)},
    "none": {},
    "flat": changed(FIRST, lambda t: t.flatten()),
    "no elements": changed(FIRST, lambda t: t[:0]),
    "scalar": changed(FIRST, lambda t: torch.tensor(1.0)),
    "other name": renamed(GOOD, FIRST, ESCAPE),
    "path as a name": renamed(GOOD, FIRST, "../../x"),
    "long name": renamed(GOOD, FIRST, "a" * 100_000),
}


@pytest.mark.parametrize("name", [param("weights", name) for name in TENSORS])
def test_tensors_that_are_not_the_networks(run, world, name):
    path = world.outside / "odd.safetensors"
    save_file(TENSORS[name], path)
    failures = run(name, path, given=(path.name, FIRST))
    settle(failures)


def header(content, data=b"\0" * 64):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


ONE = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
HEADERS = {
    "longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "as long as can be": struct.pack("<Q", 2**64 - 1) + b"{}",
    "no JSON": header(b"{"),
    "not Unicode": header(b'{"\xff": 1}'),
    "deep": header(b"[" * 100_000),
    "a list": header([]),
    "past the end": header({FIRST: {**ONE, "data_offsets": [0, 10**9]}}),
    "negative": header({FIRST: {**ONE, "data_offsets": [-64, 0]}}),
    "overlapping": header({FIRST: ONE, "b": ONE}),
    "with a hole": header({FIRST: {**ONE, "data_offsets": [32, 96]}}, b"\0" * 96),
    "huge shape": header({FIRST: {**ONE, "shape": [2**62, 2**62]}}),
    "unknown kind": header({FIRST: {**ONE, "dtype": "F1"}}),
    "text for a shape": header({FIRST: {**ONE, "shape": "4x4"}}),
    "twice the same": header(f'{{"{FIRST}": {json.dumps(ONE)}, "{FIRST}": {json.dumps(ONE)}}}'.encode()),
    "odd facts": header({"__metadata__": {"a": 1}, FIRST: ONE}),
}


@pytest.mark.parametrize("name", [param("weights", name) for name in HEADERS])
def test_headers_that_lie(run, world, name):
    path = world.outside / "odd.safetensors"
    path.write_bytes(HEADERS[name])
    failures = run(name, path)
    settle(failures)


def test_damaged_files(run, world, nightly):
    failures = []
    whole = WEIGHTS.read_bytes()
    for suffix in ("safetensors", "pth", "bin") if nightly else ("safetensors",):
        path = world.outside / f"odd.{suffix}"
        for name, change in itertools.islice(BYTES.items(), 0, None, 1 if nightly else 3):
            if name == "a flipped bit":
                continue  # in the middle of a number: another network, which is fine
            path.write_bytes(change(whole))
            failures += run(f"{suffix} {name}", path)
    settle(failures)


def test_a_pickle_is_never_run(run, world):
    path = world.outside / "odd.pth"
    torch.save({"weights": GOOD, "call": _Caller(str(world.here / "pwned"))}, path)
    failures = run("pickle", path)
    settle(failures)
    assert not (world.here / "pwned").exists()


class _Caller:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("shape", [param("weights", name) for name in ("folder", "loop", "dangling", "pipe", "endless")])
def test_something_that_is_no_file(run, world, shape):
    path = world.outside / f"{shape}.safetensors"
    makers = {
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path.name),
        "dangling": lambda: path.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(path),
        "endless": lambda: path.symlink_to("/dev/zero"),
    }
    makers[shape]()
    failures = run(shape, path)
    settle(failures)


@pytest.mark.parametrize("option", [param("weights", "--model"), param("weights", "--weights")])
def test_names_of_networks_and_paths(world, run, nightly, option):
    failures = []
    for text in TEXTS if nightly else PATHS:
        if text in ("embedded", "vit_pico_patch4_28"):
            continue
        words = ["run", "--method", "minmax", "--quiet", *WORDS]
        given = (text, "weights", "model") if text.strip() else ()
        if option == "--weights" or text != "resnet18":
            failures += world.attempt("weights", Case(option, [*words, f"{option}={text}"], given, True))
    settle(failures)
