"""Latency and bytes on disk in tables, pictures and the page: of one machine, with what they are said there."""

import json
import math

import pandas as pd
import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.board.export import long_rows
from harness.leaderboard.board.latencies import Latencies, latencies
from harness.leaderboard.render.page import page
from harness.leaderboard.render.pictures import plans, points_of
from harness.leaderboard.report import markdown
from harness.store.latencies import all_latencies, save_latency
from tests.leaderboard.synthetic import add, rows
from tests.leaderboard.test_page import data
from tests.leaderboard.test_terminal import shown as on_terminal
from tests.store.test_latencies import BATCH, FILE, latency

VNNI = "Test CPU (avx512_vnni, avx2), 1 thread, onnxruntime 1.32.0, batch 1"
OLD = {"device": "cpu", "cpu": "Old CPU", "flags": ["avx2"], "cores": 4, "platform": "Linux"}


def timed(trial, ratio, low=None, high=None, **changes):
    batch = {
        **BATCH,
        "ratio": ratio,
        "low": low or ratio,
        "high": high or ratio,
        "quantized_ms": 20 * ratio,
        "float32_ms": 20.0,
    }
    return latency(trial, **{"batches": [batch], **changes})


def evidence(store, machine=None):
    found = rows(store)
    return Evidence(store, found, latencies(all_latencies(store, found["id"])[0], machine))


def fill(store):
    """Two stacks at two bit-widths; the faster one is not the one with fewer bit-operations."""
    ids = {}
    for bits, right in (("w8a8", 880), ("w4a8", 840)):
        for stack, ratio, lost, operations in (("lean", 0.5, 4, 9e9), ("whole", 0.9, 0, 5e9)):
            trial = add(store, stack, right - lost, bits=bits, bit_operations=int(operations))
            save_latency(store, timed(trial, ratio, quantized={**FILE, "bytes": 10**6 * int(bits[1])}))
            ids[stack, bits] = trial
    return ids


def test_one_machine_is_shown_and_the_others_are_named():
    measured = {
        "a": [timed("a" * 16, 0.5), timed("a" * 16, 0.8, computer=OLD)],
        "b": [timed("b" * 16, 0.6)],
        "c": [timed("c" * 16, 0.7, computer=OLD)],
        "d": [timed("d" * 16, 0.9, threads=4)],
        "e": [timed("e" * 16, 0.55)],
    }
    found = latencies(measured)
    assert (found.place, {name: one.ratio for name, one in found.timings.items()}) == (VNNI, {"a": 0.5, "b": 0.6, "e": 0.55})
    old = "Old CPU (avx2), 1 thread, onnxruntime 1.32.0, batch 1"
    assert found.others == ((old, 2), (VNNI.replace("1 thread", "4 threads"), 1))
    assert f"Measured on {VNNI}. Also measured, and not shown (--machine): {old} (2); " in found.note()
    other = latencies(measured, "old cpu")
    assert (other.place, sorted(other.timings)) == (old, ["a", "c"])
    assert set(other.disk_bytes) == set(measured), "bytes do not depend on the machine"


def test_a_machine_that_nobody_measured_on():
    with pytest.raises(UsageError, match=r"like 'H200'\. Measured on: Test CPU \(avx512_vnni, avx2\), 1 thread"):
        latencies({"a": [timed("a" * 16, 0.5)]}, "H200")
    with pytest.raises(UsageError, match=r"Measured on: none: no latency is measured \(harness latency\)"):
        latencies({}, "H200")
    assert latencies({}) == Latencies()
    assert Latencies().note() == ""


def test_batch_sizes_are_places_of_their_own():
    both = [{**BATCH, "batch": 32, "ratio": 0.8, "high": 0.9}, BATCH]
    measured = {"a": [latency(batches=both)], "b": [latency(batches=both)]}
    assert latencies(measured).place.endswith("batch 1")
    assert latencies(measured, "batch 32").timings["a"].ratio == 0.8


def test_a_quiet_machine_counts_before_a_busy_one_and_a_newer_measurement_before_an_older():
    older, newer = timed("a" * 16, 0.5, created="2026-01-01"), timed("a" * 16, 0.6, created="2026-02-01")
    busy = timed("a" * 16, 0.9, created="2026-03-01", quiet=False)
    assert latencies({"a": [newer, older, busy]}).timings["a"].ratio == 0.6
    assert latencies({"a": [busy]}).timings["a"].busy is True
    unknown = timed("a" * 16, 0.7, created="2026-04-01", quiet=None, others=None)
    assert (latencies({"a": [busy, unknown]}).timings["a"].ratio, latencies({"a": [unknown]}).timings["a"].busy) == (
        0.7,
        False,
    )


def test_cells_have_the_mean_over_seeds_and_the_outermost_ends(store):
    for seed, (ratio, low, high) in enumerate(((0.5, 0.45, 0.52), (0.6, 0.58, 0.7))):
        save_latency(store, timed(add(store, "lean", 800, seed), ratio, low, high))
    add(store, "lean", 800, 2)
    (cell,) = boards(rows(store), evidence(store))[0].cells.values()
    assert cell.latency == pytest.approx(0.55)
    assert (cell.latency_interval.low, cell.latency_interval.high) == (0.45, 0.7)
    assert (cell.disk_bytes, cell.latency_on) == (FILE["bytes"], VNNI)


def test_what_was_never_measured_has_no_columns(store):
    add(store, "lean", 800)
    known = evidence(store)
    text = markdown(rows(store), known)
    (cell,) = boards(rows(store), known)[0].cells.values()
    assert (math.isnan(cell.latency), math.isnan(cell.disk_bytes), cell.latency_interval, cell.latency_on) == (
        True,
        True,
        None,
        "",
    )
    assert "atency" not in text
    assert "disk" not in text
    assert "latency" not in on_terminal(store, 120)


def test_tables(store, capsys):
    ids = fill(store)
    add(store, "unmeasured", 700)
    save_latency(store, timed(ids["whole", "w4a8"], 0.95, quiet=False, created="2020-01-01"))
    text = markdown(rows(store), evidence(store))
    assert "| time   | MB   | MB on disk   | latency, × float32   |" in text
    assert "| 8.00         | 0.50 (0.50 to 0.50)  |" in text
    assert f"Measured on {VNNI}." in text.replace("\\", "")
    assert "Bit-operations do not rank latency." in text
    (line,) = (line for line in text.splitlines() if line.startswith("| `unmeasured`"))
    assert [part.strip() for part in line.split("|")][-3:-1] == ["-", "-"]
    assert main(["report", "--store", str(store.root), "--machine", "batch 1", "--quiet"]) == 0
    assert "latency, × float32" in capsys.readouterr().out
    assert main(["report", "--store", str(store.root), "--machine", "H200", "--quiet"]) == 2
    assert "no latency was measured on a machine like 'H200'" in capsys.readouterr().err


def test_flat_rows(store):
    ids = fill(store)
    add(store, "unmeasured", 700)
    save_latency(store, timed(ids["lean", "w8a8"], 0.4, created="2027-01-01", computer=OLD))
    long = long_rows(boards(rows(store), evidence(store))).set_index(["stack", "bits"])
    row = long.loc["lean", "w8a8"]
    assert (row["latency"], row["latency_low"], row["latency_high"], row["disk_bytes"]) == (0.5, 0.5, 0.5, 8e6)
    assert (row["latency_ms"], row["latency_ms_fp32"], row["latency_on"], row["latency_busy"]) == (10.0, 20.0, VNNI, False)
    assert long.loc["unmeasured", "w8a8"][["latency", "disk_bytes", "latency_on"]].isna().all()


def test_fronts_of_latency_and_bytes_go_over_all_bit_widths(store):
    fill(store)
    add(store, "unmeasured", 890)
    known = evidence(store)
    found = {plan.cost: plan for plan in plans(boards(rows(store), known), ["latency", "disk_bytes", "bit_operations"])}
    assert [found["latency"].hardware, found["disk_bytes"].hardware, found["latency"].bits] == [VNNI, "", "all"]
    on_front = {
        cost: {(bits, one.point.label) for bits, one in points_of(plan, known) if one.on_front}
        for cost, plan in found.items()
    }
    assert on_front["latency"] == {("w8a8", "lean"), ("w8a8", "whole")}
    assert on_front["disk_bytes"] == {("w8a8", "whole"), ("w4a8", "whole")}
    assert len(points_of(found["latency"], known)) == 4, "what was not measured is no point"
    assert ("w8a8", "lean") not in on_front["bit_operations"], "bit-operations rank them the other way round"


def test_pictures_and_a_folder_of_them(store, tmp_path):
    fill(store)
    words = ["report", "--store", str(store.root), "--out", str(tmp_path / "out"), "--cost", "latency,disk_bytes", "--quiet"]
    assert main([*words, "--format", "svg,csv,md"]) == 0
    names = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "out").glob("*.svg")}
    assert len({name for name in names if name.startswith("pareto-latency-")}) == 1
    assert len({name for name in names if name.startswith("pareto-disk-")}) == 1
    assert pd.read_csv(tmp_path / "out" / "leaderboard.csv")["latency"].notna().all()


def test_the_page(store):
    fill(store)
    add(store, "unmeasured", 700)
    found, known = rows(store), evidence(store)
    made = data(page(found, boards(found, known), known), "boards")
    measured = [row for one in made["lists"] for row in one["rows"] if "latency" in row]
    assert len(measured) == 4
    assert {made["texts"][row["latencyOn"]] for row in measured} == {VNNI}
    assert sorted(row["latency"] for row in measured) == [0.5, 0.5, 0.9, 0.9]
    fronts = {one["cost"]: one for one in made["fronts"] if one["cost"] in ("latency", "disk")}
    assert {(cost, one["bits"], len(one["points"])) for cost, one in fronts.items()} == {("latency", "", 4), ("disk", "", 4)}
    assert made["latency"] == known.latencies.note()


def test_broken_files_are_named_and_the_report_is_made(store, capsys):
    ids = fill(store)
    path = store.folder(ids["lean", "w8a8"]) / "latency" / f"{'f' * 16}.json"
    path.write_text(json.dumps(timed(ids["lean", "w8a8"], 1.0)))
    (store.folder(ids["lean", "w8a8"]) / "latency" / f"{'e' * 16}.json").symlink_to("/dev/zero")
    assert main(["report", "--store", str(store.root), "--quiet"]) == 0
    said = capsys.readouterr()
    assert f"{path} is no measurement: its name is not the hash of its content" in said.err
    assert "it is a link to /dev/zero" in said.err
    assert "0.50 (0.50 to 0.50)" in said.out


@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal(store, width):
    ids = fill(store)
    save_latency(store, timed(ids["whole", "w8a8"], 0.9, created="2027-01-01", quiet=False, threads=8))
    text = on_terminal(store, width, evidence(store))
    assert max(map(len, text.splitlines())) <= width
    assert "latency" in text
    assert "0.50" in text
    assert "0.90*" not in text
    assert "0.90*" in on_terminal(store, width, evidence(store, "8 threads"))


def test_a_foreign_name_of_a_machine_is_text(store):
    trial = add(store, "lean", 800)
    odd = {**OLD, "cpu": "</script>|`\x1b[2J<b>"}
    save_latency(store, timed(trial, 0.5, computer=odd))
    text = markdown(rows(store), evidence(store))
    assert "<b>" not in text
    assert "\x1b" not in text
