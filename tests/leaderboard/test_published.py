"""Published numbers: the files are sound, mistakes in them are named, comparisons say what can be compared."""

import pytest

from harness.leaderboard.board.boards import boards
from harness.leaderboard.published import numbers as published
from harness.leaderboard.published.matching import methods_of
from harness.leaderboard.published.numbers import (
    STACKS,
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
    path.write_text(f"method,model,weight_bits,activation_bits,top1,source,notes,stack\n{line},\n")
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
    names = {one.method for one in accuracies()}
    assert set(STACKS) <= names
    stacks = {*STACKS.values(), *(one.ours for one in accuracies() if one.ours)}
    assert all(str(check(stack)) == stack for stack in stacks)


@pytest.mark.parametrize(
    ("source", "method", "stack"),
    [
        ("Evol-Q paper Table 2", "Evol-Q", "fqvit+evolq(preset=paper)"),
        ("Evol-Q paper Table 5", "Evol-Q", "fqvit+evolq(preset=paper)"),
        ("Evol-Q paper Table 6", "Evol-Q", "fqvit(levit=release)+evolq(preset=paper)"),
        ("Evol-Q paper Table 6", "FQ-ViT", "fqvit(levit=release)"),
        ("Evol-Q paper Table 8", "BRECQ", "minmax+brecq"),
        ("I&S-ViT paper Table 1", "BRECQ", "repqvit+brecq"),
        ("Evol-Q supplement Table 1b", "Evol-Q on FQ-ViT + OMSE + Bias Corr", "fqvit+omse+biascorr+evolq(preset=paper)"),
        ("Evol-Q paper Table 2", "PSAQ-ViT-V2", ""),
        ("GLF-Q paper Table 5", "FIMA-Q", ""),
    ],
)
def test_an_experiment_not_a_name_has_a_stack(source, method, stack):
    found = {one.ours for one in accuracies() if (one.source, one.method) == (source, method)}
    assert found == {stack}


def test_four_bit_attention_maps_are_another_stack():
    maps = {one.ours for one in accuracies() if one.notes == "4-bit attention map"}
    assert maps == {"fqvit(lis=true)"}


def compared(store, *stacks):
    for stack in stacks:
        metrics = {"top1": 67.2, "top1_fp32": 72.2, "agreement": 95.0, "n_images": 50_000, "n_correct": 33_600}
        add(store, stack, 700, model=DEIT, bits="w4a8", metrics=metrics)
    numbers = [
        one for one in accuracies() if one.model == "DeiT-T" and one.source.startswith("Evol-Q") and one.weight_bits == 4
    ]
    return {
        (one.published.source.removeprefix("Evol-Q "), one.published.method): (one.verdict, one.why)
        for one in compare(boards(rows(store), evidence(store)), numbers)
    }


def test_the_long_stack_is_the_supplements_not_the_papers(store):
    found = compared(store, "fqvit+omse+biascorr+evolq(preset=paper)")
    assert found["paper Table 3", "Evol-Q"] == ("published only", "")
    assert found["supplement Table 1b", "Evol-Q on FQ-ViT + OMSE + Bias Corr"][0] in ("better", "within noise", "worse")


def test_other_settings_are_shown_and_not_judged(store):
    found = compared(store, "fqvit+evolq")
    assert found["paper Table 3", "Evol-Q"] == ("not comparable", "other settings: fqvit+evolq")
    assert compared(store, "fqvit+evolq(preset=paper)")["paper Table 3", "Evol-Q"][0] == "within noise"


@pytest.mark.parametrize(
    ("stack", "methods"),
    [
        ("adalog(candidates=32,steps=2)", ("adalog",)),
        ("easyquant(sequential=false)", ("easyquant(sequential=false)",)),
        ("fqvit(levit=release)+evolq(preset=paper,passes=3)", ("fqvit(levit=release)", "evolq")),
        ("repqvit+brecq(preset=joint)", ("repqvit", "brecq(preset=joint)")),
        ("repqvit+brecq(preset=short,iterations=9)", ("repqvit", "brecq")),
        ("fqvit+evolq(passes=1,loss=mse)", ("fqvit", "evolq(loss=mse)")),
        ("", ("",)),
        ("odd(x", ("odd(x",)),
    ],
)
def test_settings_of_effort_do_not_make_another_method(stack, methods):
    assert methods_of(stack) == methods
