"""Links in a store that lead out of it: nothing is written through them, and what is refused is named with its target."""

import json
import os

import pytest

from harness.store.store import Store, write_json
from harness.sweep.manifest import Sweep
from tests.hostile.known import param
from tests.hostile.world import STACK, WORDS, Case
from tests.store.test_store import record

RUN = ["run", "--method", STACK, *WORDS, "--quiet", "--force"]
RESUME = ["resume", "--quiet", "--trust-imported"]
# The link, what is said to the store, and whether that is refused; otherwise the link is replaced or done without.
LINKS = {
    "attempts": ("trials/*/FAILED/attempts", RUN, True),
    "replicas": ("trials/*/IMPORTED/replicas", RUN, True),
    "latency": ("trials/*/FAILED/latency", RUN, True),
    "sweep": ("sweeps/*", ["cancel"], True),
    "resumed": ("sweeps/*", RESUME, True),
    "submissions": ("sweeps/*/submissions", RESUME, True),
    "code": ("sweeps/*/code", RESUME, True),
    "stop": ("sweeps/*/stop", ["cancel"], False),
    "trust": ("sweeps/*/trusts-imported", RESUME, False),
    "logits": ("logits/*", RUN, False),
    "states": ("states/*/*", RUN, False),
}


def places_of(world, pattern):
    """The paths of a pattern, there or not."""
    (log,) = world.runs.glob("trials/*/*/log.txt")  # of the trial that was really run
    path = log.with_name("record.json")
    if "FAILED" in pattern:
        error = {"kind": "oom", "message": "no memory", "traceback": "T"}
        write_json(path, {**json.loads(path.read_text()), "status": "failed", "error": error})
    if "IMPORTED" in pattern:
        write_json(path, {**json.loads(path.read_text()), "imported": {"from": "lab", "file": "x", "at": "2026"}})
    pattern = pattern.replace("FAILED", log.parent.name).replace("IMPORTED", log.parent.name)
    parent, _, name = pattern.rpartition("/")
    return sorted(world.runs.glob(pattern)) or [folder / name for folder in world.runs.glob(parent)]


def lead_out(world, path, name):
    """Put a link in the place of a file or folder; what it leads to has the same content."""
    target = world.outside / name
    if path.exists():
        path.rename(target)
    elif path.name == "stop":
        target.write_text("mine")
    elif path.name != "trusts-imported":  # that would be made
        target.mkdir()
    path.symlink_to(target)


@pytest.mark.parametrize("kind", [param("link", kind) for kind in LINKS])
def test_nothing_is_written_through_a_link(world, kind):
    pattern, words, refused = LINKS[kind]
    paths = places_of(world, pattern)
    for number, path in enumerate(paths):
        lead_out(world, path, f"theirs-{number}")
    before = world.around(Case(kind, words))
    said = world.say([*words, "--store", str(world.runs)])
    assert said.raised is None
    assert world.around(Case(kind, words)) == before
    assert said.code == (2 if refused else 0), said.err
    if refused or kind in ("logits", "states"):
        named = [f"{path} is a link to {os.readlink(path)}, out of the store" for path in paths]
        assert any(text in said.err for text in named), said.err
    else:
        assert not paths[0].is_symlink()


def test_a_mark_that_is_a_link_makes_nothing_trusted(world):
    (mark,) = places_of(world, "sweeps/*/trusts-imported")
    mark.symlink_to(world.outside / "thesis.tex")
    assert not Sweep(Store(world.runs), mark.parent.name).store.trust_imported
    mark.unlink()
    mark.touch()
    assert Sweep(Store(world.runs), mark.parent.name).store.trust_imported


@pytest.mark.parametrize("name", ["replicas", "attempts"])
def test_an_import_refuses_a_trial_with_such_a_link(world, name):
    own, theirs = Store(world.runs), Store(world.outside / "store")
    own.save(record())
    theirs.save(record(seconds=99.0))
    path = own.folder(record()["id"]) / name
    lead_out(world, path, "theirs")
    words = ["store", "import", str(theirs.root)]
    before = world.around(Case(name, words))
    said = world.say([*words, "--store", str(world.runs)])
    assert world.around(Case(name, words)) == before
    assert f"{path} is a link to {os.readlink(path)}, out of the store" in said.err
