"""The numbers behind pictures, against direct computations."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from harness.analysis.attention import Difference
from harness.analysis.curves import accuracy_over, search_curves
from harness.analysis.directions import Direction, moved, random_directions, searched_direction
from harness.analysis.distributions import NAMES, Grid, distributions
from harness.analysis.landscape import SIDES, Landscape, Side, Survey, Wanted
from harness.analysis.subject import chosen
from harness.engines import losses
from harness.engines.scale_search import read_scales
from harness.errors import UsageError
from harness.machine.progress import Progress
from harness.store.store import Store
from harness.store.table import table
from tests.analysis.trials import subject_of, trial_of  # noqa: F401
from tests.store.test_store import record


@pytest.fixture(scope="module")
def subject(trial_of):  # noqa: F811
    return subject_of(trial_of)


def test_held_out_images_are_none_of_the_trials(subject):
    own = {image.numpy().tobytes() for image in subject.calibration}
    assert len(own) == len(subject.calibration) == len(subject.held_out) == 6
    assert not own & {image.numpy().tobytes() for image in subject.held_out}


def test_a_side_is_the_loss_of_the_logits_above_its_floor(subject):
    side = Side(subject, subject.calibration)
    output, target = subject.model(subject.calibration), subject.model.full_precision(subject.calibration)
    loss = losses.named("infonce", temperature=3.0, normalise=True)
    assert side.values(0)["infonce"] == pytest.approx(float(loss(output, target) - loss(target, target)), abs=1e-5)
    assert side.values(0)["mse"] == pytest.approx(float((output - target).square().mean()), rel=1e-4)
    assert side.floor["mse"] == 0


def test_a_survey_leaves_the_network_as_it_was(subject):
    before = dict(subject.model.quantizers)
    survey = Survey(subject, Wanted(points=3, plane=3, directions=1), {})
    found = survey.run(Progress())
    assert all(subject.model.quantizers[name] is one for name, one in before.items())
    assert set(found.lines["unit"]) == {unit.name for unit in survey.units} == set(subject.blocks)
    origin = found.lines[found.lines["distance"] == 0.0]
    assert origin.groupby(["unit", "side", "loss"])["value"].nunique().max() == 1
    assert len(found.plane) == 3 * 3 * 2 * 4
    centre = found.plane[(found.plane["x"] == 0) & (found.plane["y"] == 0)]
    same = origin[(origin["unit"] == found.plane_of[0]) & (origin["direction"] == "random")]
    assert centre["value"].tolist() == pytest.approx(same["value"].tolist())
    told = found.correlations
    assert len(told) == 4 * len(survey.units)
    assert told["correlation"].abs().max() <= 1 + 1e-9


def test_the_best_child_is_the_best_of_its_siblings(subject):
    survey = Survey(subject, Wanted(points=3, plane=0, directions=1), {})
    survey._sides = {SIDES[0]: Side(subject, subject.calibration)}
    unit = survey.units[0]
    with moved(subject.model, unit) as mover:
        children = random_directions(mover.origin.numel(), 4, torch.Generator().manual_seed(5))
        best = survey._best_child(unit, mover, children)
        values = []
        for child in children:
            mover.to((0.05, child))
            values.append(survey._sides[SIDES[0]].values(unit.segment)["infonce"])
    assert torch.equal(best.entries, children[int(np.argmin(values))].entries)


def test_the_search_began_where_the_direction_says(subject):
    survey = Survey(subject, Wanted(), {})
    with moved(subject.model, survey.units[0]) as mover:
        before = mover.origin * torch.linspace(0.9, 1.2, mover.origin.numel())
        found = searched_direction(before, mover.origin, -0.05)
        mover.to((found.began, found))
        assert torch.allclose(read_scales(subject.model, survey.units[0]), before, rtol=1e-5)
    assert searched_direction(before, before, -0.05) is None


def test_gains_are_what_is_left_at_the_best_distance():
    values = {("calibration", -0.1): 5.0, ("calibration", 0.0): 4.0, ("calibration", 0.1): 3.0}
    values |= {("held out", -0.1): 1.0, ("held out", 0.0): 2.0, ("held out", 0.1): 2.5}
    rows = [["b", "random", 0, distance, side, "mse", value] for (side, distance), value in values.items()]
    columns = ["unit", "direction", "number", "distance", "side", "loss", "value"]
    gains = Landscape(pd.DataFrame(rows, columns=columns)).gains.iloc[0]
    assert (gains["distance"], gains["gain_calibration"], gains["gain_held_out"]) == (0.1, 0.25, -0.25)


def test_distributions_of_weights_and_norm_inputs(subject):
    found = {one.site: one for one in distributions(subject)}
    weight = subject.model.weights["blocks.0.attn.qkv.weight"].present_weight
    one = found["blocks.0.attn.qkv.weight"]
    assert one.block == "blocks.0"
    assert np.allclose(one.shares[0], weight.amin(1))
    assert np.allclose(one.shares[3], np.median(weight.numpy(), axis=1), atol=1e-6)
    quantizer = subject.model.quantizers[one.site]
    low, high = quantizer.code_range
    assert np.allclose(one.grid.low, (low - quantizer.zero_point) * quantizer.scale)
    assert one.grid.codes.sum() == weight.numel()
    assert one.grid.used == len(torch.unique(quantizer.codes(weight)))
    norms = [one for one in found.values() if one.kind == "before LayerNorm"]
    assert len(norms) == len(subject.model.layer_norms)
    assert list(one.rows()[list(NAMES)].iloc[0]) == pytest.approx(one.shares[:, 0].tolist())
    assert high - low + 1 == len(one.grid.codes)


def test_codes_that_hold_most_values():
    grid = Grid(np.zeros(1), np.ones(1), np.ones(1), np.array([980, 15, 5, 0]), 0)
    assert (grid.used, grid.most) == (3, 2)


def test_the_order_of_attention():
    generator = np.random.default_rng(0)
    full = generator.random((2, 3, 50, 50))
    same, other, reverse = Difference(), Difference(), Difference()
    same.add(2 * full, full)
    other.add(generator.random(full.shape), full)
    reverse.add(-full, full)
    rows = {name: one.rows("s", "b")[0][3:6] for name, one in (("same", same), ("other", other), ("reverse", reverse))}
    assert rows["same"] == pytest.approx([0, 1, 0])
    assert rows["other"][0] == pytest.approx(1 / 3, abs=0.01)
    assert rows["other"][1] == pytest.approx(0, abs=0.02)
    assert rows["reverse"] == pytest.approx([0.5, -1, 1])


def test_equal_attention_shares_its_rank():
    found = Difference()
    found.add(np.full((1, 1, 1, 4), 0.25), np.array([[[[0.1, 0.2, 0.3, 0.4]]]]))
    assert found.rows("s", "b")[0][3:5] == [pytest.approx(0.25), 0]


def test_accuracy_over_what_trials_differ_in(tmp_path):
    store = Store(tmp_path)

    def add(number, passes, seed, calib=256, cycles=3, name="evolq"):
        spec = {"model": "m", "stack": [{"name": name, "version": 1, "config": {"passes": passes, "cycles": cycles}}]}
        spec |= {"seed": seed, "calib": calib, "bits": "w8a8"}
        kept = record(f"{number:016x}", spec=spec, seed=seed, calib=calib)
        store.save(kept)
        return kept

    own = add(1, 3, 0)
    for number, changes in enumerate([(3, 1), (5, 0), (3, 0, 64), (3, 0, 256, 9), (5, 0, 64), (3, 0, 256, 3, "gradopt")], 2):
        add(number, *changes)
    found = accuracy_over(table(store.records()), own)
    values = {axis: sorted(part["value"]) for axis, part in found.groupby("axis")}
    assert values == {"passes": [3, 3, 5], "cycles": [3, 3, 9], "calib": [64, 256, 256], "seed": [0, 1]}


def test_curves_that_a_search_noted():
    stages = [{"name": "evolq", "seconds": 1.0, "notes": {"curves": {"loss": [3.0, 2.0]}}}, {"name": "x", "seconds": 1.0}]
    assert search_curves(record(stages=stages)).to_numpy().tolist() == [["evolq", "loss", 0, 3.0], ["evolq", "loss", 1, 2.0]]


def test_blocks_by_number():
    names = [f"blocks.{number}" for number in range(12)]
    assert chosen(names, None) == ["blocks.0", "blocks.5", "blocks.11"]
    assert chosen(names, "3,1,3") == ["blocks.3", "blocks.1"]
    assert chosen(names, "all") == names
    assert chosen([], None) == []
    for wrong in ("12", "-1", "x"):
        with pytest.raises(UsageError, match=r"expected"):
            chosen(names, wrong)


def test_directions_are_uniform_and_drawn_by_seed():
    first, again = (random_directions(1000, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[1].entries, again[1].entries)
    assert isinstance(first[0], Direction)
    assert float(first[0].entries.abs().max()) <= 1
    assert json.dumps(first[0].kind) == '"random"'
