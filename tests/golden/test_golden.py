"""Ids and states of small trials are those of the file: what moves one needs a new version and a line in CHANGELOG.

Ids are compared everywhere. States are compared bit by bit on machines that the file has a digest of; elsewhere sums of
floats differ in their last bits, a value near a tie is rounded the other way, a search takes another step: there a few
means by kind of tensor are compared (``digest.py`` says how near they must be, and why).
"""

import re
from dataclasses import replace

import pytest

from harness.method.registry import PACKAGES, available
from tests.golden import book
from tests.golden.digest import State
from tests.golden.trials import BY_NAME, Identity, Runs, tolerance_of

GOLDEN = book.read()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("golden"))


def test_the_file_and_the_list_name_the_same_trials():
    assert GOLDEN.keys() == BY_NAME.keys(), f"run {book.REGENERATE}"


def test_every_method_that_needs_no_extra_has_a_trial():
    tried = " ".join(BY_NAME)
    known = [info.name for info in available().values() if info.target.startswith(PACKAGES) and not info.extra]
    assert len(known) > 30
    assert [name for name in known if not re.search(rf"\b{name}\b", tried)] == []


@pytest.mark.parametrize("name", [name for name in BY_NAME if name in GOLDEN])
def test_ids_are_those_of_the_file(name, runs):
    now = runs.identity(BY_NAME[name])
    moved = book.moved_identity(now, GOLDEN[name].identity)
    assert not moved, book.advice(name, now.versions, moved)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name in GOLDEN])
def test_states_are_those_of_the_file(name, runs):
    moved = book.moved_state(runs.state(BY_NAME[name]), GOLDEN[name].state, tolerance_of(name))
    assert not moved, book.advice(name, GOLDEN[name].identity.versions, moved)


STATE = State({"here": "aa"}, "f", {"bias_shift": {"tensors": 1, "numbers": 9, "mean": 0.5, "rms": 1.0, "log": -1.0}})
ENTRY = book.Entry(Identity("a" * 16, ("b" * 16,), {"ID_VERSION": 1, "fqvit": 1}), STATE)


def test_a_state_that_moved_is_written_over_for_a_new_version_or_a_reason_only():
    moved = replace(ENTRY, state=replace(STATE, digests={"here": "bb"}))
    with pytest.raises(ValueError, match="digest aa -> bb on the same machine"):
        book.merged(moved, ENTRY, 0.01)
    assert book.merged(moved, ENTRY, 0.01, "a better seed").accepted == "a better seed"
    for versions in ({"ID_VERSION": 1, "fqvit": 2}, {"ID_VERSION": 2, "fqvit": 1}):
        raised = replace(moved, identity=Identity("c" * 16, ("d" * 16,), versions))
        assert book.merged(raised, ENTRY, 0.01) == raised
    with pytest.raises(ValueError, match="id aaaaaaaaaaaaaaaa -> cccccccccccccccc"):
        book.merged(replace(ENTRY, identity=replace(ENTRY.identity, id="c" * 16)), ENTRY, 0.01)


def test_another_machine_adds_its_digest_unless_its_numbers_are_far_apart():
    near = State({"there": "cc"}, "f", {"bias_shift": {**STATE.summary["bias_shift"], "mean": 0.505}})
    entry = book.merged(replace(ENTRY, state=near), ENTRY, 0.01)
    assert entry.state == replace(STATE, digests={"here": "aa", "there": "cc"}), "numbers stay those of the first machine"
    assert book.moved_state(near, STATE, 0.001) == ["bias_shift: mean 0.5 -> 0.505"]
    for other in (replace(near, facts="g"), replace(near, summary={}), replace(near, summary={**near.summary, "more": {}})):
        with pytest.raises(ValueError, match=r"other quantizers|is gone|is new"):
            book.merged(replace(ENTRY, state=other), ENTRY, 0.01)


def test_the_message_says_what_to_do():
    said = book.advice("fqvit w8a8", ENTRY.identity.versions, ["digest aa -> bb"])
    for text in ("digest aa -> bb", "raise version= in @register", "(fqvit)", "ID_VERSION", "CHANGELOG.md", book.REGENERATE):
        assert text in said


def test_the_file_is_read_as_it_was_written(tmp_path):
    book.write(GOLDEN, tmp_path / "golden.json")
    assert book.read(tmp_path / "golden.json") == GOLDEN
    assert (tmp_path / "golden.json").read_text() == book.FILE.read_text()
