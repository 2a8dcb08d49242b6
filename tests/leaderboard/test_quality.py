"""Beyond top-1 in tables: the interval of a class's change, means over seeds, older records."""

import numpy as np
import pandas as pd
import pytest

from harness.cli.main import main
from harness.leaderboard.board.boards import boards
from harness.leaderboard.board.quality import class_rows
from harness.leaderboard.report import markdown
from harness.leaderboard.stats.difference import difference
from harness.store.class_damage import class_damage
from harness.store.store import Store
from harness.trial.record_check import problems_of
from tests.leaderboard.synthetic import IMAGES, add, evidence, rows
from tests.store.test_store import record

COUNTS = {"index": [0, 3], "images": [600, 400], "right_fp32": [550, 350], "lost": [100, 4], "gained": [0, 6]}
METRICS = {"top1": 80.2, "top1_fp32": 90.0, "agreement": 95.0, "n_images": IMAGES, "n_correct": 802, "n_correct_fp32": 900}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_the_interval_of_one_class_is_that_of_every_other_difference():
    found = class_damage({"index": [0], "images": [400], "right_fp32": [350], "lost": [30], "gained": [6]})
    first = np.repeat([True, False], [350, 50])
    second = first.copy()
    second[:30] = False
    second[350:356] = True
    expected = difference(first[None], second[None]).interval
    assert (found.change[0], found.low[0], found.high[0]) == pytest.approx((expected.value, expected.low, expected.high))


def test_intervals_hold_for_all_classes_at_once():
    """Where nothing changed on average, hardly any set of classes has one that seems harmed."""
    generator = np.random.default_rng(0)
    said = 0
    for _ in range(200):
        lost, gained = generator.binomial(40, 0.1, 50), generator.binomial(40, 0.1, 50)
        lists = {"index": list(range(50)), "images": [100] * 50, "right_fp32": [50] * 50}
        said += class_damage({**lists, "lost": lost.tolist(), "gained": gained.tolist()}).harmed > 0
    assert said <= 15


def test_a_class_without_a_changed_image_is_not_known_to_be_unharmed():
    found = class_damage({"index": [0], "images": [10], "right_fp32": [10], "lost": [0], "gained": [0]})
    assert found.low[0] < 0 == found.change[0] < found.high[0]


def test_tables_show_it_on_request_and_older_records_a_dash(store):
    more = {"nll": 0.5, "nll_fp32": 0.4, "ece": 3.0, "ece_fp32": 2.0}
    new = add(store, "fqvit", 802, metrics={**METRICS, **more}, classes=COUNTS)
    add(store, "omse", 800)
    assert "Beyond top-1" not in markdown(rows(store), evidence(store))
    text = markdown(rows(store), evidence(store), ["nll", "ece", "classes"])
    line = next(line for line in text.splitlines() if line.startswith("| `fqvit`") and "0.5000" in line)
    assert "| 0.4000 | 3.00" in " ".join(line.split())
    assert "-16.7 (" in line
    assert text.count("`omse`") == markdown(rows(store), evidence(store)).count("`omse`")
    cell = next(cell for cell in boards(rows(store), evidence(store))[0].cells.values() if cell.ids == (new,))
    assert cell.quality.harmed == 1
    found = class_rows(store, [new])
    assert found["class"].tolist() == [0, 3]
    assert found["change"].tolist() == pytest.approx([-100 / 6, 0.5])


def test_more_seeds_do_not_narrow_what_the_images_leave_open(store):
    for seed in (0, 1):
        add(store, "fqvit", 802, seed=seed, metrics=METRICS, classes=COUNTS)
    cell = next(iter(boards(rows(store), evidence(store))[0].cells.values()))
    single = class_damage(COUNTS)
    assert (cell.quality.worst.low, cell.quality.worst.high) == pytest.approx((single.low[0], single.high[0]))


def test_the_verb_writes_all_classes(store, tmp_path, capsys):
    trial = add(store, "fqvit", 802, metrics=METRICS, classes=COUNTS)
    out = tmp_path / "board"
    words = ["--store", str(store.root), "--out", str(out), "--format", "md,html", "--metrics", "classes", "--quiet"]
    assert main(["report", *words]) == 0
    assert pd.read_csv(out / "classes.csv")["record"].tolist() == [trial, trial]
    assert "Beyond top-1" in (out / "README.md").read_text()
    assert main(["report", "--store", str(store.root), "--metrics", "nil"]) == 2
    assert "unknown metric 'nil'. Did you mean nll?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gained": [1]}, "different lengths"),
        ({"index": [3, 3]}, "names a class twice"),
        ({"images": [6, 0]}, "one without images"),
        ({"images": [6, 4]}, "expected 11 in all"),
        ({"lost": [6, 0]}, "at most those of a class"),
    ],
)
def test_counts_that_no_evaluation_gives_are_refused(changes, said):
    counts = {"index": [0, 3], "images": [7, 4], "right_fp32": [5, 3], "lost": [1, 0], "gained": [2, 1]}
    assert problems_of(record(classes=counts)) == []
    assert said in "; ".join(problems_of(record(classes={**counts, **changes})))
