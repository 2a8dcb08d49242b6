"""Damaged files of every kind in a store, before every verb that reads them; exports that lie; stores that are none."""

import base64
import itertools
import json

import pandas as pd
import pytest

from harness.store.latencies import save_latency
from harness.store.store import Store
from tests.hostile.damage import BYTES, DEEP, documents
from tests.hostile.known import param
from tests.hostile.texts import ESCAPE
from tests.hostile.world import STACK, WORDS, Case, settle
from tests.store.in_place import dangling, folder, loop, pipe
from tests.store.test_latencies import latency
from tests.store.test_store import record

READERS = (
    ["report"],
    ["report", "--json"],
    ["store", "check"],
    ["status"],
    ["compare", "fqvit", "fqvit+omse"],
    ["store", "export", "--out", "rows.csv"],
    ["store", "export", "--full", "--format", "parquet", "--out", "rows.parquet"],
    ["logs", "TRIAL"],
    ["run", "--trial", "TRIAL", "--quiet"],
    ["resume", "--quiet"],
    ["cancel"],
    ["doctor"],
    ["store", "rebuild"],
    ["status", "--all", "--json"],
)
# Files by what they are; the trial that was really run has most of them.
FILES = {
    "record": "trials/*/TRIAL/record.json",
    "correct": "trials/*/TRIAL/correct.npy",
    "quantizers": "trials/*/TRIAL/quantizers.safetensors",
    "log": "trials/*/TRIAL/log.txt",
    "heartbeat": "trials/*/TRIAL/heartbeat.json",
    "attempt": "trials/*/TRIAL/attempts/1.json",
    "replica": "trials/*/TRIAL/replicas/0123456789abcdef.json",
    "latency": "trials/*/TRIAL/latency/*.json",
    "table": "results.parquet",
    "sweep": "sweeps/*/sweep.json",
    "jobs": "sweeps/*/submissions/1/jobs.json",
    "packs": "sweeps/*/submissions/1/packs.json",
    "stop": "sweeps/*/stop",
}
VERBS_OF = {
    "record": READERS,
    "correct": READERS[:7],
    "sweep": [["status"], ["status", "--json"], ["resume", "--quiet"], ["cancel"], ["store", "check"], ["report"]],
    "jobs": [["status"], ["cancel"], ["logs", "TRIAL"], ["resume", "--quiet"], ["store", "check"]],
    "packs": [["status"], ["cancel"], ["logs", "TRIAL"], ["resume", "--quiet"], ["store", "check"]],
    "heartbeat": [["status"], ["resume", "--quiet"], ["store", "check"]],
    "latency": [["report"], ["store", "check"], ["store", "export", "--full", "--out", "rows.csv"]],
    "table": [["report"], ["compare", "fqvit", "fqvit+omse"], ["store", "rebuild"]],
}
DEFAULT_VERBS = [["store", "check"], ["report"], ["logs", "TRIAL"], ["status"]]


@pytest.fixture
def trial(world):
    """The trial that was really run, with every kind of file beside it."""
    (log,) = world.runs.glob("trials/*/*/log.txt")
    return log.parent.name


def place_of(world, kind, trial):
    """The path of a file of that kind, made if it is one that a store has only at times."""
    pattern = FILES[kind].replace("TRIAL", trial)
    found = sorted(world.runs.glob(pattern))
    if found:
        return found[0]
    if kind == "latency":
        return save_latency(Store(world.runs), latency(trial))
    parent = next(iter(sorted(world.runs.glob(pattern.rpartition("/")[0] or "."))), None)
    parent = parent or next(iter(sorted(world.runs.glob(pattern.rsplit("/", 2)[0])))) / pattern.rsplit("/", 2)[1]
    parent.mkdir(exist_ok=True)
    path = parent / pattern.rpartition("/")[2]
    beat = {"host": "elsewhere", "pid": 4_000_000, "started_process": 1.0, "stage": "fqvit", "beat": 1.0, "started": 1.0}
    one = record(trial, "failed") if "replicas" in pattern or "attempts" in pattern else beat
    path.write_text("no more\n" if kind == "stop" else json.dumps(one))
    return path


def cases(verbs, trial, kind, damage):
    """One case per verb that reads such a file."""
    for words in verbs:
        outputs = tuple(words[words.index("--out") + 1 :]) if "--out" in words else ()
        filled = [trial if word == "TRIAL" else word for word in words]
        yield Case(f"{kind} {damage}", filled, outputs=outputs)


def damaged(world, kind, trial, nightly):
    """Every damage of a file of this kind: its name and the new content."""
    path = place_of(world, kind, trial)
    old = path.read_bytes()
    variants = [(name, change(old or b"x")) for name, change in BYTES.items()]
    if path.suffix == ".json":
        variants += list(documents(old, 60 if nightly else 8))
    return path, variants if nightly else variants[:: 3 if path.suffix != ".json" else 4]


@pytest.mark.parametrize("kind", [param("file", kind) for kind in FILES])
def test_damaged_files(world, trial, nightly, kind):
    failures = []
    path, variants = damaged(world, kind, trial, nightly)
    verbs = VERBS_OF.get(kind, DEFAULT_VERBS)
    turn = itertools.cycle(verbs)
    for name, content in variants:
        chosen = verbs if nightly else [next(turn), next(turn)]
        for case in cases(chosen, trial, kind, name):
            world.renew()
            place = place_of(world, kind, trial)
            place.write_bytes(content)
            failures += world.attempt("store", case, lost=[trial])
    assert path.name
    settle(failures)


SHAPES = {"folder": folder, "loop": loop, "dangling": dangling, "pipe": pipe}


@pytest.mark.parametrize("shape", [param("shape", name) for name in SHAPES])
def test_something_else_in_the_place_of_a_file(world, trial, nightly, shape):
    if shape == "pipe" and not nightly:
        pytest.skip("in the nightly form: who opens a pipe waits")
    failures = []
    for kind in FILES if nightly and shape != "pipe" else ("record", "correct", "sweep", "packs", "heartbeat"):
        verbs = VERBS_OF.get(kind, DEFAULT_VERBS)
        for case in cases(verbs if nightly and shape != "pipe" else verbs[:2], trial, kind, shape):
            world.renew()
            SHAPES[shape](place_of(world, kind, trial))
            failures += world.attempt("store", case, lost=[trial])
    settle(failures)


SAVED = {
    "prefix": "states/*/*/prefix.safetensors",
    "logits": "logits/*/*.safetensors",
    "partial": "states/*/*/prefix.safetensors",
}


@pytest.mark.parametrize("kind", [param("saved", kind) for kind in SAVED])
def test_damaged_saved_work_is_computed_again(world, nightly, kind):
    """Prefix states, logits and checkpoints: named, done without, and the result is the same."""
    failures = []
    first = world.say(["run", "--method", f"{STACK}", *WORDS, "--json", "--store", str(world.runs), "--quiet"])
    expected = json.loads(first.out)["metrics"]["n_correct"]
    for number, (name, change) in enumerate(BYTES.items()):
        if not nightly and number % 6:
            continue
        world.renew()
        for path in world.runs.glob(SAVED[kind]):
            target = path.with_name("partial.safetensors") if kind == "partial" else path
            target.write_bytes(change(path.read_bytes()))
        words = ["run", "--method", STACK, *WORDS, "--seed", "0", "--json", "--quiet"]
        for done in world.runs.glob("trials/*/*/log.txt"):
            (done.parent / "record.json").unlink()
        case = Case(f"{kind} {name}", words, fails=False)
        failures += world.attempt("store", case, lost=world.good)
        again = world.say([*words, "--store", str(world.runs)])
        if json.loads(again.out)["metrics"]["n_correct"] != expected:
            failures.append(f"{kind} {name}: another result")
    settle(failures)


BITS = base64.b64encode(b"\x93NUMPY").decode()
IDS = (
    "../../x",
    "/proc/x",
    "a" * 300,
    "",
    "0123456789ABCDEF",
    ESCAPE,
    "ab12cd34ef56ab7",
    "..",
    "ab12cd34ef56ab78\n",
    "\u0661" * 16,
)


def exports(nightly):
    """Rows of full exports: name, cells of the column ``record``, cells of ``correct``."""
    for one in IDS:
        yield f"id {one[:20]!r}", json.dumps(record(one)), BITS
    yield from ((f"record {cell[:20]!r}", cell, BITS) for cell in ("", "{", "null", "17", "[]", "nan", '{"id": 1}', DEEP))
    yield from (
        (f"bits {bits[:20]!r}", json.dumps(record()), bits)
        for bits in ("", "!", "AAAA", "é", "=", base64.b64encode(b"x" * 99).decode())
    )
    for name, content in documents(json.dumps(record()), 200 if nightly else 12):
        yield name, content.decode(), BITS


@pytest.mark.parametrize("form", [param("export", form) for form in ("csv", "json", "parquet")])
def test_exports_that_lie(world, nightly, form):
    failures = []
    path = world.root / "outside" / f"theirs.{form}"
    writers = {"csv": "to_csv", "json": "to_json", "parquet": "to_parquet"}
    more = {"csv": {"index": False}, "parquet": {"index": False}, "json": {"orient": "records"}}
    for number, (name, one, bits) in enumerate(exports(nightly)):
        if not nightly and number % 3 != ("csv", "json", "parquet").index(form):
            continue
        world.renew()
        getattr(pd.DataFrame({"record": [one], "correct": [bits]}), writers[form])(path, **more[form])
        for words in (
            ["store", "import", str(path)],
            ["report", "--records", str(path), "--quiet"],
            ["report"],
            ["store", "check"],
        ):
            failures += world.attempt("store", Case(f"export {name}", words))
    settle(failures)


@pytest.mark.parametrize("form", [param("no export", form) for form in ("csv", "json", "parquet", "txt", "db")])
def test_files_that_are_no_exports(world, nightly, form):
    failures = []
    path = world.root / "outside" / f"theirs.{form}"
    for number, (name, change) in enumerate(BYTES.items()):
        if not nightly and number % 4:
            continue
        path.write_bytes(change(b'{"a": [1, 2]}'))
        for words in (["store", "import", str(path)], ["report", "--records", str(path), "--quiet"]):
            failures += world.attempt("store", Case(f"no export {name}", words, (path.name,), fails=True))
    settle(failures)


PLACES = (
    "",
    " ",
    "\x00",
    "~nouser/x",
    "/proc/1/x",
    "/dev/null",
    "/dev/null/x",
    "a" * 300,
    "a/" * 2000,
    "../outside/trials",
    "\udcff",
    ESCAPE,
)
LOOKING = (
    ["report"],
    ["status"],
    ["store", "check"],
    ["run", "--method", "minmax", *WORDS, "--quiet"],
    ["doctor"],
    ["store", "rebuild"],
)


@pytest.mark.parametrize("place", [param("place", place) for place in PLACES])
def test_places_that_are_no_store(world, nightly, place):
    failures = []
    for words in LOOKING if nightly else LOOKING[PLACES.index(place) % 2 :: 2]:
        given = (place, "store") if place.strip() else ("store",)
        own = (place.replace("\x00", "?"),)
        case = Case(f"store {place[:20]!r}", [*words, "--store", place], given, outputs=own, store=False)
        failures += world.attempt("store", case)
    settle(failures)
