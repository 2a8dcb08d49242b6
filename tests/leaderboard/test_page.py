"""The page's file and its data: nothing from outside, small, and every figure that of the tables."""

import base64
import gzip
import hashlib
import json
import re

import pandas as pd
import pytest

from benchmarks.page_load import made_up
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.published.numbers import compare
from harness.leaderboard.render.page import packed, page
from harness.leaderboard.render.page_records import columns
from harness.leaderboard.stats.difference import estimate
from harness.store.store import Store
from tests.lanes import nightly
from tests.leaderboard.synthetic import add, evidence, rows
from tests.store.test_store import record

DEIT = "deit_tiny_patch16_224.fb_in1k"


def page_of(store, **more):
    found = rows(store)
    known = Evidence(store, found)
    return page(found, boards(found, known), known, **more)


def unpacked(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def data(text, name):
    (found,) = re.findall(rf'<script id="{name}" type="application/octet-stream">([^<]*)</script>', text)
    return unpacked(found)


def fill(store):
    for bits, lost in (("w8a8", 0), ("w4a8", 30), ("w3a8", 200)):
        for seed in range(3):
            add(store, "fp32", 900, seed, bits=bits)
            for place, stack in enumerate(("minmax", "fqvit", "fqvit+omse", "fqvit+omse+biascorr")):
                right = 780 + 30 * place - lost + seed
                add(
                    store,
                    stack,
                    right,
                    seed,
                    seconds=1 + place,
                    draw=0,
                    bits=bits,
                    size_bytes=10**6 * int(bits[1]),
                    model=DEIT,
                )
    add(store, "percentile", 700, bits="w4a8", model=DEIT, size_bytes=4_000_000)
    store.save(record("f" * 16, "failed", stack="broken", metrics={}, error={"kind": "oom", "message": "no memory"}))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store and its page, for tests that only look."""
    store = Store(tmp_path_factory.mktemp("filled"))
    fill(store)
    return store, page_of(store, title="a < b")


def test_the_page_is_one_small_file_without_links_to_elsewhere(filled):
    _, text = filled
    assert "<title>a &lt; b</title>" in text
    assert "{{" not in text
    assert not re.search(r"https?:|<link|src=|@import|url\(|import\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", text)
    assert len(text) < 150_000


def test_only_the_script_and_style_of_the_page_may_run(filled):
    _, text = filled
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    style = text.partition("<style>")[2].partition("</style>")[0]
    for part, content in (("script-src", script), ("style-src", style)):
        wanted = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{part} 'sha256-{wanted}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_data_cannot_end_its_element():
    written = packed({"a": ["</script>&\u2028", 1 / 3, None, (True, 2)]})
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", written)
    assert unpacked(written) == {"a": ["</script>&\\u2028", 0.3333333, None, [True, 2]]}
    with pytest.raises(ValueError, match="JSON"):
        packed(float("nan"))


def test_the_same_records_give_the_same_page(filled):
    store, text = filled
    assert page_of(store, title="a < b") == text


def test_rows_are_the_cells_of_the_tables(filled):
    store, text = filled
    known = evidence(store)
    made, ids = data(text, "boards"), data(text, "records")["id"]
    compared = 0
    for board in boards(rows(store), known):
        for network in board.networks:
            (shown,) = (
                one
                for one in made["lists"]
                if one["bits"] == board.bits and made["networks"][one["network"]]["label"] == network.label
            )
            by_label = {made["stacks"][row["stack"]]["label"]: row for row in shown["rows"]}
            for recipe in board.recipes:
                if (recipe, network) not in board.cells:
                    continue
                cell, row = board.cells[recipe, network], by_label.pop(recipe.label)
                around = estimate(known.correct(cell.ids)).interval
                assert row["mean"] == pytest.approx(cell.mean, abs=1e-4)
                assert row["sd"] == pytest.approx(cell.deviation, abs=1e-4)
                assert row["around"] == pytest.approx([around.value, around.low, around.high], abs=1e-4)
                assert row["mark"] == cell.mark
                if cell.rank is not None:
                    assert row["rank"] == [cell.rank.value, cell.rank.low, cell.rank.high]
                assert [ids[place] for place in row["records"]] == list(cell.ids)
                compared += 1
            assert by_label == {}
    assert compared == 16


def test_what_is_not_ranked_comes_last_and_says_why(store):
    fill(store)
    add(store, "ema", 890, 0, bits="w8a8", model=DEIT, protocol="paper")
    made = data(page_of(store), "boards")
    apart = {
        made["stacks"][row["stack"]]["stack"]: row["apart"] for one in made["lists"] for row in one["rows"] if row["apart"]
    }
    assert apart == {"fp32": "full precision", "percentile": "1 of 3 seeds", "ema": "protocol paper: saw evaluation images"}
    for one in made["lists"]:
        reasons = [bool(row["apart"]) for row in one["rows"]]
        assert reasons == sorted(reasons)


def test_published_values_stand_beside_the_cells_that_they_belong_to(filled):
    store, text = filled
    made = data(text, "boards")
    wanted = {(one.published.method, one.published.bits, one.published.top1, one.verdict, one.cell.ids)
              for one in compare(boards(rows(store), evidence(store))) if one.cell}  # fmt: skip
    ids = data(text, "records")["id"]
    shown = {
        (one["method"], one["bits"], one["top1"], verdict, tuple(ids[place] for place in row["records"]))
        for a_list in made["lists"]
        for row in a_list["rows"]
        for number, verdict, _ in row["published"]
        for one in [made["published"][number]]
    }
    assert shown == wanted
    assert len(shown) > 3
    assert {one["model"] for one in made["published"]} == {DEIT}
    assert {one["model"] for one in made["runtimes"]} == {DEIT}


def test_sizes_are_compared_across_bit_widths_and_times_within_one(filled):
    made = data(filled[1], "boards")
    network = next(place for place, one in enumerate(made["networks"]) if one["model"] == DEIT)
    fronts = [one for one in made["fronts"] if one["network"] == network]
    assert sorted((one["cost"], one["bits"]) for one in fronts) == [
        ("bitops", ""), ("seconds", "w3a8"), ("seconds", "w4a8"), ("seconds", "w8a8"), ("size", ""),
    ]  # fmt: skip
    (size,) = (one for one in fronts if one["cost"] == "size")
    standing = {(made["stacks"][stack]["stack"], bits): status for stack, bits, status, *_ in size["points"]}
    assert len(standing) == 13
    assert {key for key, status in standing.items() if status == "front"} == {
        ("fqvit+omse+biascorr", bits) for bits in ("w8a8", "w4a8", "w3a8")
    }


def test_records_are_all_there_as_columns(filled):
    table = rows(filled[0])
    made = columns(table)
    assert {*made, "identity", "altered"} == {*table.columns}, "nothing was altered here"
    for name in made:
        column = made[name]
        read = column if isinstance(column, list) else [column["texts"][i] if i >= 0 else None for i in column["at"]]
        if name == "stages":
            read = [
                json.dumps(
                    [[part, seconds] for part, seconds in zip(names.split("\n") if names else [], times, strict=True)]
                )
                for names, times in zip(read, column["seconds"], strict=True)
            ]
        assert read == [None if pd.isna(value) else value for value in table[name]], name


def test_a_report_without_finished_records_has_a_page(store):
    store.save(record("f" * 16, "failed", stack="broken", metrics={}, error={"kind": "oom", "message": "no memory"}))
    text = page_of(store)
    assert data(text, "boards")["lists"] == []
    assert data(text, "records")["error_kind"] == ["oom"] or data(text, "records")["error_kind"]["texts"] == ["oom"]


def test_stacks_of_several_versions_are_told_apart_over_all_boards(store):
    for bits, version in (("w8a8", 1), ("w4a8", 2)):
        spec = {"stack": [{"name": "omse", "version": version, "config": {}}], "weights_sha256": "", "preprocessing": {}}
        add(store, "omse", 800, bits=bits, spec=spec)
    made = data(page_of(store), "boards")
    assert sorted(one["label"] for one in made["stacks"]) == ["omse (method versions 1)", "omse (method versions 2)"]


def made_page(store, count):
    made = made_up(count)
    known = Evidence(store, made)
    return page(made, boards(made, known), known)


def test_records_take_little_room_each(store):
    assert len(made_page(store, 600)) - len(made_page(store, 60)) < 540 * 300


@nightly
def test_twenty_thousand_records_are_under_six_megabytes(store):
    text = made_page(store, 20_000)
    assert len(text) < 6_000_000
    assert data(text, "boards")["records"] == len(data(text, "records")["seed"]) == 20_000
