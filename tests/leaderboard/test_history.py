"""A board against an older one: what moved beyond its interval, and which recorded change explains it."""

import json

import pytest

from harness.cli.main import main
from harness.leaderboard.board.history import moves, moves_markdown
from harness.store.store import Store
from tests.leaderboard.synthetic import add, evidence, rows


def spec(*versions, **config):
    names = ("fqvit", "omse")
    steps = [{"name": name, "version": v, "config": config} for name, v in zip(names, versions, strict=False)]
    return {"stack": steps, "weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 0.9}}


@pytest.fixture
def older(tmp_path):
    return Store(tmp_path / "older")


def found(older, store):
    return {one.stack: one for one in moves(rows(older), rows(store), evidence(older), evidence(store))}


def test_what_moved_and_why(older, store):
    for seed in range(3):
        add(older, "fqvit", 800, seed, draw=1, spec=spec(1))
        add(store, "fqvit", 800, seed, draw=1, spec=spec(1))
        add(older, "fqvit+omse", 810, seed, draw=1, spec=spec(1, 1))
        add(store, "fqvit+omse", 860, seed, draw=1, spec=spec(1, 2))
        add(older, "dropped", 700, seed)
        add(store, "added", 710, seed)
    same, moved = found(older, store)["fqvit"], found(older, store)["fqvit+omse"]
    assert (same.verdict, same.why) == ("unchanged", ())
    assert (moved.verdict, moved.why) == ("up", ("omse version 1 to 2",))
    assert (moved.difference.interval.value, moved.seeds) == (pytest.approx(5.0), (0, 1, 2))
    assert {name: one.verdict for name, one in found(older, store).items()} == {
        "fqvit": "unchanged",
        "fqvit+omse": "up",
        "added": "new",
        "dropped": "gone",
    }
    text = moves_markdown(list(found(older, store).values()), "old.parquet")
    assert "1 up, 1 unchanged, 1 new, 1 gone" in text
    assert "omse version 1 to 2" in text
    assert text.index("`fqvit+omse`") < text.index("`added`"), "what moved comes first"


def test_a_move_that_nothing_explains_says_so(older, store):
    for seed in range(3):
        add(older, "fqvit", 800, seed, draw=1)
        add(store, "fqvit", 740, seed, draw=1)
    one = found(older, store)["fqvit"]
    assert (one.verdict, one.why) == ("down", ())
    assert "none recorded" in moves_markdown([one], "old")


def test_other_recorded_changes_are_named(older, store):
    add(older, "fqvit", 800, draw=1, spec=spec(1, ptf=True), environment={"device": "cpu", "versions": {"torch": "2.9"}})
    changed = {"device": "cpu", "versions": {"torch": "2.10"}, "commit": "abc"}
    add(store, "fqvit", 801, draw=1, spec=spec(1, ptf=False), environment=changed)
    one = found(older, store)["fqvit"]
    assert one.verdict == "within noise"
    assert one.why == ("fqvit: ptf True to False", "torch 2.9 to 2.10", "commit nothing to abc")


def test_without_images_or_common_seeds_nothing_is_claimed(older, store):
    add(older, "fqvit", 800, 0)
    add(store, "fqvit", 900, 1)
    one = found(older, store)["fqvit"]
    assert (one.verdict, one.seeds) == ("unknown", ())
    assert "seeds 0 to 1" in one.why


def test_the_newest_of_several_versions_counts(older, store):
    add(older, "fqvit", 800, draw=1, spec=spec(1))
    for version, right in ((1, 800), (10, 860), (9, 700)):
        add(store, "fqvit", right, draw=1, spec=spec(version))
    one = found(older, store)["fqvit"]
    assert (one.now.interval.value, one.why) == (86.0, ("fqvit version 1 to 10",))


def test_the_command(older, store, tmp_path, capsys):
    add(older, "fqvit", 800, draw=1, spec=spec(1))
    add(store, "fqvit", 860, draw=1, spec=spec(2))
    full = tmp_path / "old.parquet"
    assert main(["store", "export", "--store", str(older.root), "--format", "parquet", "--full", "--out", str(full)]) == 0
    capsys.readouterr()
    here = ["report", "--store", str(store.root), "--quiet", "--against"]
    assert main([*here, str(full)]) == 0
    assert "+6.00" in capsys.readouterr().out
    assert main([*here, str(older.root), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["verdict"], one["why"]) == ("up", ["fqvit version 1 to 2"])
    assert main([*here, str(full), "--out", str(tmp_path / "x")]) == 2
    assert "leave out --out" in capsys.readouterr().err
    assert main([*here, str(tmp_path / "none.parquet")]) == 2
