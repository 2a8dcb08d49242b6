"""Published numbers: the files are sound, mistakes in them are named, comparisons say what can be compared."""

import pytest

from harness.leaderboard.board.boards import boards
from harness.leaderboard.published import numbers as published
from harness.leaderboard.published.numbers import (
    Accuracy,
    PublishedError,
    accuracies,
    compare,
    comparison_markdown,
    runtimes,
)
from harness.method import registry
from harness.method.stack import check
from tests.leaderboard.synthetic import add, evidence, rows

DEIT = "deit_tiny_patch16_224.fb_in1k"


def test_the_files_are_read_whole():
    assert len(accuracies()) == 1063
    assert len(runtimes()) == 36
    assert all(0 < one.top1 <= 100 for one in accuracies())
    assert all(one.hardware for one in runtimes())


def test_names_lead_to_stacks_and_networks_that_exist():
    methods, models = ({getattr(one, field) for one in accuracies()} for field in ("method", "model"))
    assert set(published.STACKS) <= methods
    assert {"DeiT-T", "ViT-B", "Swin-S", "LeViT-384"} <= models & set(published.models())
    for stack in published.STACKS.values():
        assert {step.info.name for step in check(stack).steps} <= set(registry.available())
    import timm

    assert all(timm.is_model(name.partition(".")[0]) for name in published.models().values())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FQ-ViT,DeiT-T,8,8,,paper,", "line 2: top1 is ''"),
        ("FQ-ViT,DeiT-T,8,8,171,paper,", "line 2: top1 is 171"),
        ("FQ-ViT,DeiT-T,eight,8,71,paper,", "line 2: bits is 'eight'"),
        ("FQ-ViT,DeiT-T,0.5,8,71,paper,", "line 2: bits is 0.5"),
        ("FQ-ViT,,8,8,71,paper,", "line 2: model is empty"),
        ("FQ-ViT,DeiT-T,8,8,71,,", "line 2: source is empty"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, line, said):
    path = tmp_path / "x.csv"
    path.write_text(f"method,model,weight_bits,activation_bits,top1,source,notes\n{line}\n")
    with pytest.raises(PublishedError, match=said):
        accuracies(path)


def test_a_runtime_without_hardware_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("method,model,weight_bits,activation_bits,minutes,hardware,source,notes\nA,B,8,8,3,,paper,\n")
    with pytest.raises(PublishedError, match="no hardware"):
        runtimes(path)
    path = tmp_path / "y.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(PublishedError, match="columns are"):
        runtimes(path)


def number(top1, method="FQ-ViT"):
    return Accuracy(method, "DeiT-T", 8, 8, top1, "a paper", "")


def judged(store, top1, images=50_000, full=72.2, method="FQ-ViT", right=(71.5, 71.6)):
    for seed, value in enumerate(right):
        metrics = {"top1": value, "top1_fp32": full, "agreement": 95.0, "n_images": images}
        metrics["n_correct"] = int(value * images / 100)
        add(store, "fqvit", 700, seed, model=DEIT, metrics=metrics)
    return compare(boards(rows(store), evidence(store)), [number(top1, method)])


@pytest.mark.parametrize(("top1", "verdict"), [(71.61, "within noise"), (69.0, "better"), (74.0, "worse")])
def test_verdicts(store, top1, verdict):
    (one,) = judged(store, top1)
    assert one.verdict == verdict


def test_what_cannot_be_compared_says_why(store, tmp_path):
    from harness.store.store import Store

    (one,) = judged(store, 71.61, images=500)
    assert (one.verdict, "500 evaluation images" in one.why) == ("not comparable", True)
    (one,) = judged(Store(tmp_path / "b"), 71.61, full=75.0)
    assert (one.verdict, "another checkpoint" in one.why) == ("not comparable", True)
    (one,) = judged(Store(tmp_path / "c"), 71.61, method="PTQ4ViT")
    assert (one.verdict, one.cell) == ("published only", None)


def test_images_of_another_source_are_compared_with_methods_that_made_theirs(store):
    for source, top1 in (("data", 71.5), ("psaq(iterations=50)", 70.0)):
        metrics = {"top1": top1, "top1_fp32": 72.2, "agreement": 95.0, "n_images": 50_000, "n_correct": int(top1 * 500)}
        add(store, "minmax", 700, model=DEIT, metrics=metrics, calib_source=source)
    found = compare(boards(rows(store), evidence(store)), [number(71.0, "MinMax"), number(71.56, "PSAQ-ViT")])
    assert sorted((one.published.method, one.cell.mean if one.cell else 0) for one in found) == [
        ("MinMax", 0),
        ("MinMax", 71.5),
        ("PSAQ-ViT", 0),
        ("PSAQ-ViT", 70.0),
    ]
    assert {one.verdict for one in found if one.cell is None} == {"published only"}


def test_conflicting_sources_are_all_shown(store):
    judged(store, 71.6)
    found = compare(boards(rows(store), evidence(store)), [number(71.61), number(70.9)])
    text = comparison_markdown(found)
    assert "71.61" in text
    assert "70.90" in text
    assert comparison_markdown([]) == ""


def test_stacks_beside_published_names_are_canonical_and_names_are_published():
    from harness.leaderboard.published.numbers import STACKS
    from harness.method.stack import check

    names = {one.method for one in accuracies()}
    assert set(STACKS) <= names
    assert all(str(check(stack)) == stack for stack in STACKS.values())
