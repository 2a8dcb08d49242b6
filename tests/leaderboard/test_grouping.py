"""One grouping key: means are taken over seeds and nothing else, on boards, in exports, in the ladder and in comparisons."""

import json

import pytest

from harness.cli.main import main
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.grouping import groups
from harness.leaderboard.board.labels import told_apart
from harness.leaderboard.board.ladder import gains
from harness.leaderboard.render.pictures import plans
from harness.leaderboard.report import markdown
from harness.leaderboard.stats.difference import estimate
from harness.store.store import Store
from harness.trial.identity import content_id
from tests.leaderboard.synthetic import add, evidence, rows

BLOCKS = r"blocks\.\d+$"


def spec(stack="fqvit", version=1, **changes):
    steps = [{"name": name, "version": version, "config": {}} for name in stack.split("+")]
    return {"stack": steps, "weights_sha256": "a" * 64, "preprocessing": {"crop_pct": 0.9}, **changes}


def found(store):
    return boards(rows(store), evidence(store))


def means(store):
    return sorted(round(cell.mean, 2) for board in found(store) for cell in board.cells.values())


# The made-up store of the finding: read by the model's name alone it gave "fqvit n=6, 81.24 +- 10.95".
PAIRS = {
    "checkpoint": ({"spec": spec()}, {"spec": spec(weights_sha256="b" * 64)}),
    "preprocessing": ({"spec": spec()}, {"spec": spec(preprocessing={"crop_pct": 0.9, "crop_mode": "squash"})}),
    "data": ({"data": {"name": "d", "fingerprint": "f"}}, {"data": {"name": "d", "fingerprint": "e"}}),
    "method": ({"spec": spec()}, {"spec": spec(version=2)}),
    "settings of the method": (
        {"spec": spec()},
        {"spec": {**spec(), "stack": [{"name": "fqvit", "version": 1, "config": {"ptf": False}}]}},
    ),
    "blocks": ({"spec": spec(blocks=BLOCKS)}, {"spec": spec(blocks="another")}),
    "limit": ({"data": {"name": "d", "fingerprint": "f"}}, {"data": {"name": "d", "fingerprint": "f", "eval_limit": 1000}}),
    "calibration source": (
        {"calib_source": "psaq", "spec": spec(calib_source={"name": "psaq", "version": 1, "config": {}})},
        {"calib_source": "psaq", "spec": spec(calib_source={"name": "psaq", "version": 2, "config": {}})},
    ),
    "a field that joins later": ({"spec": spec()}, {"spec": spec(joined="x")}),
}


@pytest.mark.parametrize("differs", PAIRS)
def test_what_differs_in_more_than_the_seed_is_never_averaged(store, differs):
    for seed in range(3):
        for right, changes in zip((800, 600), PAIRS[differs], strict=True):
            add(store, "fqvit", right + seed, seed, **changes)
    assert means(store) == [60.1, 80.1]
    assert sorted(group.seeds for group in groups(rows(store))) == [(0, 1, 2), (0, 1, 2)]
    places = [(b.title, r.label, n.label) for b in found(store) for r, n in b.cells]
    assert len(set(places)) == 2, "what is told apart can be told apart by the reader"
    assert len(set(long_rows(found(store))["group"])) == 2
    shown = markdown(rows(store), evidence(store))
    assert "n=6" not in shown
    assert shown.count("80.10 ± 0.10 (n=3)") == shown.count("60.10 ± 0.10 (n=3)") == 1


def test_a_folder_that_was_moved_is_the_same_data(store):
    add(store, "fqvit", 800, 0, data={"name": "imagenet", "fingerprint": "f"})
    add(store, "fqvit", 810, 1, data={"name": "copy", "fingerprint": "f"})
    (board,) = found(store)
    assert board.data == "copy / imagenet"
    assert next(iter(board.cells.values())).seeds == (0, 1)


def test_the_draw_of_calibration_images_belongs_to_the_seed(store):
    for seed in range(2):
        add(store, "fqvit", 800, seed, spec=spec(seed=seed, calibration_fingerprint=f"drawn by {seed}"))
    assert [group.seeds for group in groups(rows(store))] == [(0, 1)]


def test_the_same_seed_twice_counts_not_at_all_and_is_named(store, capsys):
    ids = [add(store, "fqvit", 800, 2, spec=spec(calibration_fingerprint=text)) for text in ("one", "other")]
    add(store, "fqvit", 810, 0, spec=spec())
    (cell,) = found(store)[0].cells.values()
    assert cell.seeds == (0,)
    assert main(["report", "--store", str(store.root)]) == 0
    err = capsys.readouterr().err
    assert all(trial in err for trial in ids)
    assert "fqvit on m, w8a8, seed 2" in err
    assert "none of them counts" in err
    assert main(["compare", *ids, "--store", str(store.root)]) == 0, "two trials can be compared all the same"


def test_an_imported_record_cannot_take_the_place_of_an_own_one(store, capsys):
    own = add(store, "fqvit", 800, 2, spec=spec(calibration_fingerprint="one"))
    add(store, "fqvit", 900, 2, spec=spec(calibration_fingerprint="other"), imported={"from": "them"})
    (cell,) = found(store)[0].cells.values()
    assert cell.ids == (own,)
    assert main(["report", "--store", str(store.root)]) == 0
    assert "only the own one counts" in capsys.readouterr().err


def with_id(store, right, seed, version):
    """A record whose id is the hash of its identity: version 0 is from before ``blocks`` joined."""
    identity = {**spec(), "model": "m", "seed": seed}
    identity |= {"blocks": BLOCKS} if version else {}
    trial = add(store, "fqvit", right, seed, spec=identity)
    content = json.loads((store.folder(trial) / "record.json").read_text())
    name = content_id(identity)
    store.folder(name).parent.mkdir(exist_ok=True)
    store.folder(trial).rename(store.folder(name))
    (store.folder(name) / "record.json").write_text(json.dumps({**content, "id": name}))


def test_identity_versions_are_rows_of_their_own_in_one_column(store):
    for seed in range(2):
        with_id(store, 800 + seed, seed, 1)
        with_id(store, 700 + seed, seed, 0)
    (board,) = found(store)
    assert [network.label for network in board.networks] == ["m"]
    assert {recipe.label: board.cells[recipe, board.networks[0]].mean for recipe in board.recipes} == {
        "fqvit (identity version 1)": pytest.approx(80.05),
        "fqvit (identity version 0)": pytest.approx(70.05),
    }
    shown = markdown(rows(store), evidence(store))
    assert "Identity version: 0 in 2 records, 1 in 2 records. `harness store migrate`" in shown


def test_method_versions_are_said(store):
    add(store, "fqvit", 800, 0, spec=spec(version=1))
    add(store, "fqvit", 810, 1, spec=spec(version=2))
    shown = markdown(rows(store), evidence(store))
    assert "`fqvit`: version 1 in 1 records, version 2 in 1 records." in shown
    assert "fqvit (method versions 2)" in shown
    assert "### Several versions" not in markdown(rows(store).iloc[:1], evidence(store))


def test_the_ladder_does_not_step_from_one_version_to_another(store):
    add(store, "fqvit", 800, 0, spec=spec())
    add(store, "fqvit", 700, 0, spec=spec(version=2))
    add(store, "fqvit+omse", 810, 0, spec=spec("fqvit+omse"))
    (gain,) = gains(found(store)[0], evidence(store))
    assert gain.values == pytest.approx((1.0,))
    assert gain.below.label == "fqvit (method versions 1)"


def test_compare_never_mixes_versions(store, capsys):
    for seed in range(3):
        add(store, "fqvit", 800, seed, spec=spec(version=1 + seed // 2))  # seeds 0 and 1 of version 1, seed 2 of version 2
        add(store, "fqvit+omse", 810, seed, spec=spec("fqvit+omse"))
    assert main(["compare", "fqvit", "fqvit+omse", "--json", "--store", str(store.root)]) == 0
    pairs = json.loads(capsys.readouterr().out)
    assert sorted(pair["seeds"] for pair in pairs) == [[0, 1], [2]]
    assert all("(fqvit (method versions" in pair["setting"] for pair in pairs)


def test_compare_keeps_checkpoints_apart(store, capsys):
    for weights in "ab":
        add(store, "fqvit", 800, 0, spec=spec(weights_sha256=weights * 64))
        add(store, "fqvit+omse", 810, 0, spec=spec("fqvit+omse", weights_sha256=weights * 64))
    assert main(["compare", "fqvit", "fqvit+omse", "--json", "--store", str(store.root)]) == 0
    settings = [pair["setting"] for pair in json.loads(capsys.readouterr().out)]
    assert len(set(settings)) == 2
    assert any("weights aaaaaa" in setting for setting in settings)


def test_pictures_of_boards_of_the_same_name_have_names_of_their_own(store):
    for fingerprint in ("first", "other"):
        add(store, "fqvit", 800, 0, data={"name": "d", "fingerprint": fingerprint})
    assert len({plan.name for plan in plans(found(store), ["seconds"])}) == 2


def test_cells_say_how_sure_and_where_from(store):
    for seed in range(3):
        add(
            store,
            "fqvit",
            800 + seed,
            seed,
            environment={"device": "cpu", "commit": "abc", "load": {"start": 0.5, "end": 0.5 + seed}},
        )
        add(store, "fqvit+omse", 700, seed, imported={"from": "Lab", "file": "x.parquet"})
    board = found(store)[0]
    (fqvit,) = (recipe for recipe in board.recipes if recipe.stack == "fqvit")
    cell = board.cells[fqvit, board.networks[0]]
    assert cell.interval == estimate(evidence(store).correct(cell.ids)).interval
    assert (cell.commits, cell.origins, cell.load) == (("abc",), ("own",), 2.5)
    assert (cell.rank.low, cell.rank.value, cell.rank.high) == (1, 1, 1)
    shown = long_rows([board]).set_index("stack").loc["fqvit"]
    assert (shown["top1_low"], shown["top1_high"]) == (cell.interval.low, cell.interval.high)
    assert (shown["rank"], shown["commit"], shown["origin"], shown["load"]) == (1, "abc", "own", 2.5)
    assert (shown["weights_sha256"], shown["preprocessing"], shown["data_fingerprint"]) == (
        "a" * 64,
        '{"crop_pct": 0.9}',
        "f",
    )
    assert long_rows([board]).set_index("stack").loc["fqvit+omse", "origin"] == "Lab (x.parquet)"


def test_a_group_has_one_key_everywhere(store, tmp_path):
    for seed in range(2):
        add(store, "fqvit", 800 + seed, seed)
    (board,) = found(store)
    assert [cell.top1 for cell in board.cells.values()] == [(80.0, 80.1)]
    one = long_rows([board]).iloc[0]
    assert (one["seeds"], one["n_seeds"], one["mark"]) == ("0 1", 2, "best")
    assert one["top1_low"] < one["top1_mean"] < one["top1_high"]
    other = Store(tmp_path / "other")
    add(other, "fqvit", 700, 5)
    assert long_rows(boards(rows(other), evidence(other)))["group"].to_list() == [one["group"]], "the same in every store"


@pytest.mark.parametrize(
    ("names", "parts", "labels"),
    [
        (["a", "b"], [{"x": "1"}, {"x": "2"}], ["a", "b"]),
        (["a", "a"], [{"x": "1", "y": "1"}, {"x": "2", "y": "2"}], ["a (1)", "a (2)"]),
        (["a", "a"], [{"x": "1", "y": "3"}, {"x": "1", "y": "4"}], ["a (3)", "a (4)"]),
        (["a"] * 3, [{"x": "1", "y": "3"}, {"x": "1", "y": "4"}, {"x": "2", "y": "3"}], ["a (1, 3)", "a (1, 4)", "a (2)"]),
        ([], [], []),
    ],
)
def test_labels_are_as_short_as_they_can_be(names, parts, labels):
    assert told_apart(names, parts) == labels
