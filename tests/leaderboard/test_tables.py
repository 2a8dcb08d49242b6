"""Markdown tables against hand computations, and text that tries to break them."""

import statistics

import pytest

from harness.table import table
from leaderboard import tables
from tests.harness.test_store import record


def markdown(records):
    return tables.markdown(table(records))


def trial(index, top1=80.0, **changes):
    metrics = {"top1": top1, "top1_fp32": 90.0, "agreement": 95.0, "logit_sqnr_db": 20.0, "n_images": 100}
    stages = [{"name": "fqvit", "seconds": 2.0}, {"name": "evaluate", "seconds": 50.0}]
    return record(f"{index:016x}", **{"metrics": metrics, "stages": stages, "size_bytes": 2_000_000, **changes})


def test_mean_and_deviation_over_seeds():
    values = [80.0, 81.0, 83.5]
    text = markdown([trial(i, top1, seed=i) for i, top1 in enumerate(values)])
    assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" in text
    assert "-8.50" in text
    assert "| 2.0 " in text, "the evaluation's time does not count"
    assert "2.00" in text


def test_groups_and_order():
    text = markdown([trial(1, 70.0), trial(2, 85.0, stack="better"), trial(3, bits="w4a8")])
    second = text[text.index("w8a8") :]
    assert second.index("`better`") < second.index("`fqvit`")
    assert text.count("###") == 2


def test_failed_trials_are_listed_with_reasons():
    text = markdown([trial(1), record("f" * 16, "failed")])
    assert "Not done" in text
    assert "oom: no memory" in text


def test_paper_protocol_is_marked():
    assert "saw evaluation images" in markdown([trial(1, protocol="paper")])


def test_hostile_names_cannot_break_the_table():
    text = markdown([trial(1, stack="a|b`c\n<script>", model="m|m")])
    row = next(line for line in text.splitlines() if "script" in line)
    assert "<script>" not in text
    assert row.replace("\\|", "").count("|") == text.splitlines()[4].replace("\\|", "").count("|")


def test_exact_logits_are_not_averaged():
    metrics = {"top1": 90.0, "top1_fp32": 90.0, "agreement": 100.0, "logit_sqnr_db": None, "n_images": 10}
    assert "exact" in markdown([trial(1, metrics=metrics)])


def test_one_row_per_record():
    assert len(table([trial(1), record("f" * 16, "failed")])) == 2


@pytest.mark.parametrize(
    "difference",
    [
        {"weights_sha256": "b"},
        {"preprocessing": {"crop_pct": 0.875}},
        {"stack": [{"name": "fqvit", "version": 2, "config": {}}]},
    ],
)
def test_only_seeds_are_averaged(difference):
    spec = {
        "weights_sha256": "a",
        "preprocessing": {"crop_pct": 1.0},
        "stack": [{"name": "fqvit", "version": 1, "config": {}}],
    }
    text = markdown([trial(1, 80.0, spec=spec), trial(2, 20.0, spec={**spec, **difference})])
    assert "±" not in text
    assert "| 80.00 " in text
    assert "| 20.00 " in text


def test_no_record_is_dropped_silently():
    without_count = {"top1": 70.0, "top1_fp32": 90.0, "agreement": 95.0, "logit_sqnr_db": 20.0, "n_images": None}
    text = markdown([trial(1), trial(2, metrics=without_count)])
    assert "| 80.00 " in text
    assert "| 70.00 " in text


def test_a_skipped_trial_without_reason():
    assert "None" not in markdown([record(status="skipped")])
