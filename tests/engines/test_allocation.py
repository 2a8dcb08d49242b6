"""Mixed precision: solvers against brute force on small problems, budgets, and the step of a stack as a trial."""

from itertools import product

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.data.sets import CalibrationSet
from harness.engines.allocation import Allocation, brute_force, evolve, greedy, solve
from harness.engines.mixed import Judged, problem_of, spending
from harness.engines.sensitivity import holding
from harness.errors import IncompatibleError, StackError, UsageError
from harness.graph.operations import Kind
from harness.machine.memory import Budget
from harness.machine.progress import Progress
from harness.method.stack import check
from harness.method.widths import map_of, present_bits
from harness.quant.network.inventory import bit_operations, size_bytes
from harness.quant.network.qmodel import quantizable
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.sweep.grid import ladder_of
from harness.testing.applying import apply
from harness.trial.bits import Bits
from harness.trial.record_check import problems_of
from harness.trial.spec import TrialSpec

WIDTHS = (2, 4, 8)


def problem(seed, sites=5, pairs=(), share=0.5):
    """Falling costs, sizes and a budget between the least and the most that can be spent."""
    drawn = np.random.default_rng(seed)
    cost = -np.sort(-drawn.exponential(1.0, (sites, len(WIDTHS))), axis=1)
    spent = drawn.integers(1, 9, (sites, 1)) * np.array(WIDTHS, dtype=float)
    products = tuple((a, b, float(drawn.integers(1, 5))) for a, b in pairs)
    least, most = (Allocation((), WIDTHS, cost, spent, products, 0).spent_by((end,) * sites) for end in (0, len(WIDTHS) - 1))
    names = tuple(f"s{number}" for number in range(sites))
    return Allocation(names, WIDTHS, cost, spent, products, least + share * (most - least))


def all_choices(one):
    return list(product(range(len(WIDTHS)), repeat=len(one.sites)))


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_milp_is_the_optimum(seed, share):
    one = problem(seed, share=share)
    found = solve(one)
    assert one.fits(found)
    assert one.cost_of(found) == pytest.approx(one.cost_of(brute_force(one, all_choices(one))), rel=1e-4)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_milp_is_the_optimum_where_pairs_spend(seed, share):
    one = problem(seed, pairs=((0, 1), (1, 2), (3, 4)), share=share)
    found = solve(one)
    assert one.fits(found)
    assert one.cost_of(found) == pytest.approx(one.cost_of(brute_force(one, all_choices(one))), rel=1e-4)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_greedy_and_evolution_keep_the_budget(seed, share):
    one = problem(seed, pairs=((0, 1),), share=share)
    first = greedy(one)
    assert one.fits(first)
    assert one.cost_of(first) <= one.cost_of(one.narrowest)
    assert one.cost_of(solve(one)) <= one.cost_of(first) * (1 + 1e-4)
    drawn = np.random.default_rng(seed)
    best, curve = evolve(one, first, lambda choice: -one.cost_of(choice), lambda n: int(drawn.integers(n)), 5, 4)
    assert one.fits(best)
    assert curve == sorted(curve)
    assert curve[-1] == -one.cost_of(best) >= -one.cost_of(first)


def test_evolution_finds_what_the_sum_of_costs_does_not_say():
    one = problem(1, sites=4)
    drawn = np.random.default_rng(0)
    wanted = max((choice for choice in all_choices(one) if one.fits(choice)), key=lambda c: (c[0], c[1] * 2 + c[2]))
    fitness = lambda choice: -sum(abs(a - b) for a, b in zip(choice, wanted, strict=True))  # noqa: E731
    best, _ = evolve(one, greedy(one), fitness, lambda n: int(drawn.integers(n)), 60, 8)
    assert fitness(best) > fitness(greedy(one)) or fitness(best) == 0


def test_a_budget_that_nothing_keeps_names_the_least():
    one = problem(3)
    low = Allocation(one.sites, one.widths, one.cost, one.spent, one.products, 1.0)
    for solver in (solve, greedy):
        with pytest.raises(IncompatibleError, match="use a budget of at least"):
            solver(low)


def test_a_wider_code_never_costs_more():
    costs = {2: {"a": 3.0}, 4: {"a": 1.0}, 8: {"a": 2.0}}
    one = problem_of(["a"], (2, 4, 8), costs, (torch.ones(1, 3), [], 0.0), 1.0)
    assert one.cost.tolist() == [[3.0, 1.0, 1.0]]


@pytest.mark.slow
@pytest.mark.parametrize(("of", "count"), [("size", size_bytes), ("bitops", bit_operations)])
def test_what_is_spent_is_what_the_inventory_counts(model, calibration, of, count):
    apply(check("minmax(sites=operands)").steps, model, calibration, "w4a4")
    names = [name for name in model.quantizers if of == "bitops" or name in model.weights]
    own, pairs, fixed = spending(model, names, (2, 4, 6), of)
    chosen = {name: (2, 4, 6)[number % 3] for number, name in enumerate(names)}
    one = problem_of(names, (2, 4, 6), {2: {}, 4: {}, 6: {}}, (own, pairs, fixed), 1e9)
    spent = one.spent_by(tuple((2, 4, 6).index(width) for width in chosen.values())) + fixed
    model.widths.update(chosen)
    bits = present_bits(model, Bits.parse("w4a4"))
    model.clear()
    apply(check("minmax(sites=operands)").steps, model, calibration, str(bits))
    assert spent == pytest.approx(count(model) / (1e6 if of == "size" else 1e9), rel=1e-6)


def test_the_map_is_the_bits_of_a_trial(model):
    model.widths.update(dict.fromkeys(model.weights, 4) | {"head.weight": 8, "blocks.0:add": 32, "pos_embed": 6})
    model.widths["blocks.1.attn:softmax"] = 5
    text = map_of(model, Bits.parse("w8a8"))
    assert text == "w4a8;head.weight=w8;blocks.0:add_0=a32;pos_embed=a6;blocks.1.attn:softmax_0=s5"
    one, other = present_bits(model, Bits.parse("w8a8")), Bits.parse(text)
    for name, width in model.widths.items():
        site = model.sites[name]
        asked = "weight" if site.kind == "weight" else "softmax" if site.kind == "softmax" else "activation"
        assert [getattr(bits.at(site), asked) for bits in (one, other)] == [width, width]
    model.clear()
    assert present_bits(model, Bits.parse("w8a8")) == Bits.parse("w8a8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        "budget=3.5,sensitivity=fisher",
        "budget=4,sensitivity=hessian,solver=greedy",
        "budget=4,solver=evolution,rounds=1,children=2,lowest=3,highest=5",
        "budget=3,of=sites,sensitivity=fisher",
        "budget=1.0,of=bitops,sensitivity=fisher",
        "budget=0.45,of=size,sensitivity=fisher",
    ],
)
def test_budgets_are_kept_by_the_network_itself(model, calibration, settings):
    apply(check(f"allocate(images=3,{settings})+minmax(sites=operands)").steps, model, calibration, "w8a8")
    quantized = [name for name in model.weights if name in model.quantizers]
    elements = {name: model.sites[name].elements for name in quantized}
    bits = sum(model.quantizers[name].bits * count for name, count in elements.items()) / sum(elements.values())
    budget = float(settings.split(",")[0].removeprefix("budget="))
    if "of=sites" in settings:
        assert sum(width == 32 for width in model.widths.values()) == budget
        assert not {name for name, width in model.widths.items() if width == 32} & set(model.quantizers)
    elif "of=bitops" in settings:
        assert 0.9 * budget < bit_operations(model) / 1e9 <= budget
    elif "of=size" in settings:
        assert 0.95 * budget < size_bytes(model) / 1e6 <= budget
    else:
        assert 0.95 * budget < bits <= budget
    assert all(model.quantizers[name].bits == width for name, width in model.widths.items() if width != 32)
    assert "of=sites" in settings or not [name for name in model.widths if model.sites[name].kind is Kind.INPUT]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "chosen", "budget"), [("blocks.*.mlp=w8", 14, 7), ("blocks.*.mlp=a6", 26, 5.5)])
def test_a_budget_of_weights_counts_those_that_a_rule_names(model, calibration, rule, chosen, budget):
    settings = f"budget={budget},images=2,sensitivity=fisher,lowest=3,highest=6"
    apply(check(f"allocate({settings})+minmax").steps, model, calibration, f"w8a8;{rule}")
    elements = {name: model.sites[name].elements for name in model.weights}
    bits = sum(model.quantizers[name].bits * count for name, count in elements.items()) / sum(elements.values())
    assert 0.95 * budget < bits <= budget
    assert len(model.widths) == chosen
    assert all(model.quantizers[name].bits == 8 for name in set(elements) - set(model.widths))


def test_errors_within_windows_are_summed_over_the_image():
    """Windows of attention lie along the first axis, many of one image."""
    torch.manual_seed(0)
    made = timm.create_model("swin_tiny_patch4_window7_224", depths=(2, 1, 1, 1), img_size=112, num_classes=5).eval()
    model, images = quantizable(made, (3, 112, 112), "swin"), torch.randn(2, 3, 112, 112)
    apply(check("minmax").steps, model, CalibrationSet(images), "w4a4")
    name = "layers.0.blocks.0.attn.softmax:softmax"
    seen = {}
    with torch.no_grad(), holding(model, {}):
        model.observe(images, lambda site, x: seen.update({site: x.clone()}))
    judged = Judged(model, images, Budget(), Progress(), torch.sign)
    found = judged._squared_errors({name: model.quantizers[name]})[name]
    error = model.quantizers[name](seen[name]) - seen[name]
    assert len(seen[name]) > len(images)
    assert found == pytest.approx(float(error.double().square().sum()) / len(images), rel=1e-6)


@pytest.mark.slow
def test_it_is_an_ordinary_trial(tmp_path):
    store = Store(tmp_path / "runs")
    small = {"calib": 12, "eval_limit": 40, "device": "cpu"}
    stack = "allocate(budget=4,sensitivity=fisher,images=3)"
    record = run_trial(TrialSpec(f"{stack}+minmax", bits="w8a8", **small), store).record
    assert record["status"] == "done", record.get("error")
    assert problems_of(record) == []
    stage = next(stage for stage in record["stages"] if stage["name"] == "allocate")
    assert stage["notes"]["bit_map"] == record["bit_map"]
    assert stage["forward_passes"] > 1
    assert stage["notes"]["spent"] <= 4
    same = run_trial(TrialSpec("minmax", bits=record["bit_map"], **small), store).record
    for name in ("metrics", "size_bytes", "bit_operations", "coverage"):
        assert same[name] == record[name], "the map by hand is the same network"
    other = run_trial(TrialSpec(f"{stack}+percentile", bits="w8a8", **small), store).record
    assert "reused" not in next(s for s in other["stages"] if s["name"] == "allocate")["notes"], (
        "another scheme, another map"
    )
    longer = run_trial(TrialSpec(f"{stack}+minmax+biascorr(form=empirical)", bits="w8a8", **small), store).record
    assert longer["bit_map"] == record["bit_map"]
    assert next(s for s in longer["stages"] if s["name"] == "allocate")["notes"]["reused"]


@pytest.mark.slow
def test_what_a_step_before_has_rewritten_stays(model, calibration):
    apply(check("rotate+allocate(budget=4,sensitivity=fisher,images=3)+minmax").steps, model, calibration, "w8a8")
    bits, found = map_of(model, Bits.parse("w8a8")), {name: one.scale for name, one in model.quantizers.items()}
    replaced = set(model.replaced_weights)
    assert replaced
    model.clear()
    apply(check("rotate+minmax").steps, model, calibration, bits)
    assert set(model.replaced_weights) == replaced
    assert {name: one.scale.equal(found[name]) for name, one in model.quantizers.items()} == dict.fromkeys(found, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allocate", "allocate chooses widths for a scheme, and there is none; fix: use allocate[+]fqvit"),
        ("minmax+allocate", "put allocate first"),
        ("allocate+allocate+minmax", "allocate is there twice"),
        ("allocate(of=weight)+minmax", "weights"),
    ],
)
def test_its_place_in_a_stack(text, said):
    with pytest.raises(StackError, match=said):
        check(text)


def test_widths_that_leave_no_choice_are_refused_before_any_work():
    with pytest.raises(StackError, match="lowest=6 is above highest=5, which leaves no width to choose"):
        check("allocate(lowest=6,highest=5)+minmax")


def test_ladders_begin_with_the_scheme():
    assert list(ladder_of(check("allocate+minmax+omse"))) == ["allocate+minmax", "allocate+minmax+omse"]


@pytest.mark.slow
def test_what_it_cannot_do_is_refused(model, calibration):
    for text, bits, said in (
        ("allocate(budget=1.5,sensitivity=fisher,images=1,highest=3)+minmax", "w8a8", "use a budget of at least 2"),
        ("allocate(sensitivity=fisher,images=1,highest=3)+minmax", "w8a8;*=8", "finds no site"),
    ):
        model.clear()
        with pytest.raises(UsageError, match=said):
            apply(check(text).steps, model, calibration, bits)
