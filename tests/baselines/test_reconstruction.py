"""Reconstruction: what rounding may do, that it helps, and that an interruption changes nothing."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines.engines import reconstruction
from harness.baselines.engines.reconstruction import _Reconstruction
from harness.baselines.engines.reconstruction_losses import Fima, fima_pair
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.engines import layerwise
from harness.errors import UsageError
from harness.graph.operations import Kind
from harness.method.checkpoint import Checkpoint
from harness.method.stack import check
from harness.quant.format import AdaptiveLog
from harness.quant.format.affine import AffineSpec
from harness.quant.format.nonuniform import Nonuniform
from harness.quant.format.uniform import Uniform, from_range
from harness.quant.network.inventory import off_grid_sites
from harness.quant.network.state import state_of
from tests.baselines import applying

apply = partial(applying.apply, bits="w3a8")

# Settings that move anything in so few steps.
LEARNING = {
    "adaround(preset=joint,iterations=20)": 26,
    "brecq(preset=joint,iterations=20)": 8,
    "brecq(preset=joint,iterations=20,loss=fisher)": 8,
    "qdrop(preset=short,iterations=20)": 8,
    "fimaq(preset=short,iterations=20,rank=2)": 8,
    "aphq(preset=short,iterations=20)": 8,
    "lsvit(preset=short,iterations=20)": 8,
}


@given(st.integers(2, 8), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rounding_starts_at_the_weight_and_never_moves_more_than_one_step(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, 20, generator=generator)
    low, high = weight.amin(1), weight.amax(1)
    quantizer = from_range(AffineSpec(bits, axis=0), low, high)
    rounding = SoftRounding(weight, quantizer)
    step = quantizer.scale[:, None]
    inside = (rounding.floor + quantizer.zero_point[:, None] >= 0) & (
        rounding.floor + quantizer.zero_point[:, None] + 1 <= 2**bits - 1
    )
    assert ((rounding.soft() - weight).abs() <= 2e-4 * step)[inside].all()
    rounding.variable.data.uniform_(-8, 8, generator=generator)
    hard = rounding.hard()
    assert ((hard - weight).abs() <= step * 1.0001)[inside].all()
    assert torch.allclose(quantizer.weight(hard, weight), hard, atol=1e-6), "the quantizer leaves it where it is"
    codes = hard / step + quantizer.zero_point[:, None]
    assert (codes - codes.round()).abs().max() < 1e-3
    assert rounding.undecided(2.0) >= 0


@pytest.mark.parametrize("method", LEARNING)
def test_outputs_come_closer_to_full_precision(method, model, calibration, context):
    images = calibration.images
    target = model.full_precision(images)
    apply(model, calibration, context, "repqvit")
    before = (model(images) - target).square().mean()
    model.clear()
    made = apply(model, calibration, context, f"repqvit+{method}")
    after = (model(images) - target).square().mean()
    assert after < 0.95 * before
    weights = [name for name in off_grid_sites(model) if name in model.weights]
    assert weights == [], "weights stay on their grid"
    assert made.notes["units"] == LEARNING[method]


def test_weights_move_at_most_one_step_in_a_real_run(model, calibration, context):
    apply(model, calibration, context, "repqvit+brecq(preset=joint,iterations=40,lr=0.1)")
    for name, operation in model.weights.items():
        quantizer = model.quantizers[name]
        nearest = quantizer.weight(operation.present_weight, operation.present_weight)
        moved = (operation.quantized_weight() - nearest).abs() / quantizer.scale.reshape(-1, *[1] * (nearest.ndim - 1))
        assert moved.max() <= 1.001
    assert any(
        not torch.equal(model.rounded_weights[n], model.quantizers[n].weight(o.present_weight, o.present_weight))
        for n, o in model.weights.items()
    )


def test_qdrop_learns_scales_and_brecq_without_its_stage_leaves_them(model, calibration, context):
    name = "blocks.2.mlp.fc1:linear[x]"
    apply(model, calibration, context, "repqvit")
    scale = model.quantizers[name].scale.clone()
    for stack, changed in (
        ("brecq(preset=joint,iterations=5)", False),
        ("brecq(iterations=0,scale_iterations=5,scale_lr=0.001)", True),
        ("qdrop(iterations=5,scale_lr=0.001)", True),
        ("fimaq(iterations=5,scale_lr=0.001,tokens=false)", True),
    ):
        model.clear()
        apply(model, calibration, context, f"repqvit+{stack}")
        assert torch.equal(model.quantizers[name].scale, scale) is not changed
        assert not model.quantizers[name].scale.requires_grad


@pytest.mark.parametrize("scheme", ["adalog(candidates=32,steps=1,rounds=1,images=4)", "ptq4vit(steps=6,rounds=1,images=4)"])
def test_scales_of_unequal_steps_are_learned(scheme, model, calibration, context):
    """Logarithms and twin ranges once kept the scales that they were calibrated with."""
    first, second = check(f"{scheme}+qdrop(iterations=4,scale_lr=0.01)").steps
    first.method.apply(model, calibration, context("w4a4"))
    found = {name: one for name, one in model.quantizers.items() if isinstance(one, Nonuniform)}
    # A logarithm learns from what it cuts off: half the range leaves something to learn.
    before = {name: one.with_learned_scales(one.learnable_scales / 2) for name, one in found.items()}
    assert before
    model.quantizers.update(before)
    second.method.apply(model, calibration, context("w4a4"))
    after = {name: model.quantizers[name] for name in before}
    gelu = [name for name in before if model.sites[name].kind is not Kind.SOFTMAX]
    assert all(not torch.equal(after[name].learnable_scales, before[name].learnable_scales) for name in gelu)
    assert all(bool((one.learnable_scales > 0).all()) for one in after.values())
    for name, one in after.items():
        if isinstance(one, AdaptiveLog):
            assert torch.equal(one.scale[1:], before[name].scale[1:]), "base and shift stay"


def test_the_reconstruction_of_adalog_reads_full_precision_and_drops_nothing(model, calibration, context, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("blocks read the full-precision network")

    monkeypatch.setattr(type(model), "learning", watched := _Learning(type(model).learning))
    monkeypatch.setattr(layerwise.Visit, "quantized", property(refused))
    settings = "preset=adalog,iterations=20,lr=0.01,regulariser=0.001"
    made = apply(model, calibration, context, f"repqvit+qdrop({settings})")
    assert watched.drops == {None}
    assert set(made.notes["losses"]) == {one.name for one in model.segments}
    # Block by block: the network as a whole may be further away, since no block learns from what earlier ones left over.
    assert all(end < start for start, end in made.notes["losses"].values())


class _Learning:
    """``QuantizedModel.learning`` that remembers which shares were dropped."""

    def __init__(self, learning):
        self.learning = learning
        self.drops = set()

    def __get__(self, model, _):
        def call(weights, drop=None):
            self.drops.add(drop)
            return self.learning(model, weights, drop)

        return call


@pytest.mark.parametrize(
    ("method", "at", "stop"),
    [
        ("brecq(iterations=4,scale_iterations=3)", "_round", 3),
        ("brecq(iterations=4,scale_iterations=3)", "_settle", 11),  # in the stage of the scales
        ("qdrop(iterations=4)", "_round", 3),
        ("adaround(iterations=3)", "_round", 7),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bytes(method, at, stop, model, calibration, context, tmp_path, monkeypatch):
    apply(model, calibration, context, f"repqvit+{method}")
    expected, _ = state_of(model)
    model.clear()
    scheme, learn = check(f"repqvit+{method}").steps
    scheme.method.apply(model, calibration, context("w3a8"))
    whole, calls = getattr(_Reconstruction, at), []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == stop:
            raise KeyboardInterrupt
        whole(self, *arguments)

    monkeypatch.setattr(_Reconstruction, at, interrupted)
    checkpoint = Checkpoint(tmp_path / "partial.safetensors")
    with pytest.raises(KeyboardInterrupt):
        learn.method.apply(model, calibration, context("w3a8", checkpoint=checkpoint))
    checkpoint.flush()
    monkeypatch.undo()
    model.clear()
    scheme.method.apply(model, calibration, context("w3a8"))
    learn.method.apply(model, calibration, context("w3a8", checkpoint=Checkpoint(tmp_path / "partial.safetensors")))
    found, _ = state_of(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_evolq_goes_on_from_a_reconstructed_network(model, calibration, context):
    made = apply(
        model, calibration, context, "minmax+brecq(preset=joint,iterations=3)+evolq(passes=1,cycles=1,batch=16)", bits="w4a4"
    )
    assert made.notes["loss_end"] <= made.notes["loss_start"]
    assert all(name in model.rounded_weights for name in model.weights)


@pytest.mark.parametrize("method", ["brecq", "adaround"])
def test_roundings_are_learned_with_activations_in_floating_point_unless_joint(method, model, calibration, context):
    """As released (BRECQ's first stage) and published (AdaRound): the width of activations cannot matter to them."""
    found = {}
    for preset in ("paper", "joint"):
        for bits in ("w4a4", "w4a32"):
            model.clear()
            settings = f"preset={preset},iterations=6,lr=0.2" + (",scale_iterations=0" if method == "brecq" else "")
            apply(model, calibration, context, f"minmax+{method}({settings})", bits=bits)
            found[preset, bits] = dict(model.rounded_weights)
    for preset in ("paper", "joint"):
        narrow, wide = found[preset, "w4a4"], found[preset, "w4a32"]
        assert narrow.keys() == wide.keys()
        assert all(torch.equal(narrow[site], wide[site]) for site in narrow) is (preset == "paper")


def test_brecq_then_learns_scales_block_by_block_on_full_precision_inputs(model, calibration, context, monkeypatch):
    quantized_runs = []
    run = type(model).run

    def watched(self, x, start=0, stop=None):
        quantized_runs.append(start)
        return run(self, x, start, stop)

    monkeypatch.setattr(type(model), "run", watched)
    made = apply(
        model, calibration, context, "repqvit+brecq(preset=short,iterations=0,scale_iterations=30,lr=0.01)", bits="w4a4"
    )
    stages = [name for name in made.notes["losses"] if name.endswith("(scales)")]
    assert len(stages) == len(model.segments)
    first, last = zip(*(made.notes["losses"][name] for name in stages), strict=True)
    assert sum(last) < sum(first)
    assert quantized_runs[-30:] == [len(model.segments) - 1] * 30, "one segment at a time: no chain behind it"


def test_brecq_keeps_the_first_and_last_layer_at_eight_bits(model, calibration, context):
    first, *_, last = model.weights
    read = model.weights[last].operand
    for setting, width in (("", 8), (",outer_bits=0", 3)):
        model.clear()
        apply(model, calibration, context, f"repqvit+brecq(iterations=1,scale_iterations=1{setting})", bits="w3a3")
        assert {model.quantizers[name].bits for name in (first, last, read)} == {width}
        assert (first in model.rounded_weights) is (width == 3), "as released the first layer is rounded to nearest"
        assert model.quantizers["blocks.1.mlp.fc1.weight"].bits == 3


@pytest.mark.parametrize(
    "stack",
    [
        "repqvit+adaround(iterations=2,inputs=full)",
        "ptq4vit(steps=2,rounds=1,images=4)",
        "easyquant(steps=2,images=4,sequential=false)",
    ],
)
def test_no_quantized_network_is_run_where_nobody_reads_it(stack, model, calibration, context, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("nobody needs this")

    monkeypatch.setattr(type(model), "run", refused)
    apply(model, calibration, context, stack, bits="w6a6")


class Pairs:
    """Pairs of FIMA-Q's loss that are known beforehand."""

    def __init__(self, count, size):
        self.gains, self.moves = torch.rand(count, size), torch.rand(count, size)
        self.given = 0

    def __call__(self):
        self.given += 1
        return self.gains[self.given - 1], self.moves[self.given - 1]


def test_fima_is_its_formula_and_two_at_every_renewal():
    pairs = Pairs(3, 12)
    loss = Fima(pairs, rank=3, every=4)
    unit = None
    for step in range(16):
        output, target = torch.randn(5, 12), torch.randn(5, 12)
        got = loss(output, target, None)
        known = min(step // 4 + 1, 3)
        assert pairs.given == known
        gains, moves = pairs.gains[:known].double(), pairs.moves[:known].double()
        error = (output - target).abs().double()
        diagonal = (error.square() * gains.mean(0)).sum(1).mean()
        a = error @ gains.T
        low_rank = torch.einsum("ni,ij,nj->n", a, torch.linalg.inv(moves @ moves.T), a).mean()
        if step in (0, 4, 8):
            unit = diagonal, low_rank
            assert got == pytest.approx(2, rel=1e-4)
        assert float(got) == pytest.approx(float(diagonal / unit[0] + low_rank / unit[1]), rel=2e-2)


def test_pairs_of_fima_are_those_of_what_is_being_learned(model, calibration, context, monkeypatch):
    """They once saw rounding to nearest, whatever was learned: five nearly parallel vectors, rank one in effect."""
    moves = []

    def recorded(*arguments):
        pair = fima_pair(*arguments)
        moves.append(pair[1].flatten())
        return pair

    monkeypatch.setattr(reconstruction, "fima_pair", recorded)
    apply(model, calibration, context, "repqvit+fimaq(iterations=30,rank=2,lr=0.1,drop=0,batch=16)", bits="w3a8")
    assert len(moves) == 2 * (len(model.segments) - 1), "the classifier is learned by its divergence"
    for first, second in zip(moves[::2], moves[1::2], strict=True):
        assert torch.cosine_similarity(first, second, dim=0) < 0.99


def test_fimaq_gives_every_token_a_scale(model, calibration, context):
    made = apply(model, calibration, context, "repqvit+fimaq(iterations=4,scale_lr=0.01)", bits="w4a4")
    scaled = [one for one in model.quantizers.values() if one.axis == 1 and isinstance(one, Uniform)]
    assert made.notes["scaled_by_token"] == len(scaled) == 24
    assert all(len(one.scale.unique()) > 1 for one in scaled)


def test_notes_say_how_many_images_the_authors_used(model, calibration, context):
    made = apply(model, calibration, context, "minmax+brecq(iterations=1,scale_iterations=1)")
    assert (made.notes["images_used"], made.notes["images_wanted"]) == (16, 1024)


def test_presets_and_wrong_settings():
    config = check("fqvit+brecq").steps[1].method.config
    assert (config.iterations, config.lr, config.scale_iterations, config.outer_bits) == (20_000, 1e-3, 5000, 8)
    assert check("fqvit+adaround").steps[1].method.config.iterations == 10_000
    assert check("fqvit+brecq(preset=short,iterations=7)").steps[1].method.config.iterations == 7
    with pytest.raises(UsageError, match="has no setting 'iteration'"):
        check("fqvit+brecq(iteration=7)")


def test_products_in_bfloat16_are_near_those_in_single_precision(model, calibration, context):
    """Codes and losses stay in single precision; the roundings of a short run differ in few places."""
    found = {}
    for precision in ("float32", "bfloat16"):
        model.clear()
        settings = f"iterations=6,lr=0.01,precision={precision}"
        made = apply(model, calibration, context, f"repqvit+qdrop({settings})", bits="w4a4")
        assert all(value == value for losses in made.notes["losses"].values() for value in losses)
        found[precision] = dict(model.rounded_weights)
    assert any(not torch.equal(one, found["bfloat16"][name]) for name, one in found["float32"].items())
    same = [(one == found["bfloat16"][name]).float().mean() for name, one in found["float32"].items()]
    assert torch.stack(same).mean() > 0.97
    assert all(one.dtype == torch.float32 for one in found["bfloat16"].values())


def test_precision_is_part_of_ids_only_where_it_is_not_the_default():
    plain, single, half = (check(f"repqvit+qdrop({text})") for text in ("", "precision=float32", "precision=bfloat16"))
    assert plain.identity() == single.identity()
    assert "precision" in str(half.identity())
    assert half.identity() != plain.identity()
