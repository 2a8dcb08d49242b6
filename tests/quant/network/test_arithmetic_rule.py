"""Which products run on integers, why the others do not, and that bytes do not depend on how they are computed."""

from dataclasses import replace

import pytest
import torch

from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network import arithmetic_rule as rule
from harness.quant.network.integer_operations import Weighted
from harness.quant.network.state import restore, state_of
from harness.trial.spec import INTEGER

QKV, FC2 = "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc2.weight"


@pytest.fixture
def quantized(model, calibration, context):
    """The embedded network after ``minmax`` at w8a8, with integer arithmetic."""
    return applied(model, calibration, context, "minmax", "w8a8")


def applied(model, calibration, context, stack, bits):
    for step in check(stack).steps:
        step.method.apply(model, calibration, context(bits))
    model.arithmetic = INTEGER
    return model


def reasons(model):
    forms = {name: one.integer_form() for name, one in model.chain.products.items()}
    return {name: form for name, form in forms.items() if isinstance(form, str)}


def test_every_product_of_a_uniform_scheme_runs_on_integers(quantized):
    assert reasons(quantized) == {}
    assert len(quantized.chain.products) == sum(len(segment.costs) for segment in quantized.segments)


def test_the_scaling_of_queries_is_part_of_the_way(quantized):
    """``q * scale`` stands between the quantizer of ``qkv`` and the product."""
    found = [one.reads[0].route for one in quantized.chain.products.values() if hasattr(one, "reads")]
    assert {route.factor for route in found if route.site.endswith("qkv:linear")} == {32**-0.5}
    assert not any(route.obstacle or route.crosses for route in found)


def weighted_reason(model, site=QKV):
    return model.weights[site].integer_form()


def test_refusals_of_weighted_operations_say_why(quantized, calibration):
    operation, quantizers = quantized.weights[QKV], quantized.quantizers
    read, before = operation.read.route.site, dict(quantizers)
    fraction = torch.tensor([0.5])
    channels = operation.weight.shape[1]

    def reason(**changes):
        quantizers.update(before)
        for name, change in changes.items():
            site = QKV if name == "weight" else read
            if change is None:
                del quantizers[site]
            else:
                quantizers[site] = change(quantizers[site])
        return weighted_reason(quantized)

    per_channel = lambda one: replace(one, scale=one.scale.expand(channels).clone(), axis=2)  # noqa: E731
    by_input = lambda one: replace(one, scale=torch.ones(channels), zero_point=torch.zeros(channels), axis=1)  # noqa: E731
    assert reason(input=None) == f"input: {rule.UNQUANTIZED}"
    assert reason(weight=None) == f"weight: {rule.UNQUANTIZED}"
    assert reason(input=lambda one: replace(one, zero_point=fraction)) == "input: fractional zero points"
    assert reason(weight=lambda one: replace(one, zero_point=one.zero_point + fraction)) == "weight: fractional zero points"
    assert reason(input=lambda one: replace(one, zero_point=one.zero_point - 2**17)) == (
        "input: zero points too far from the codes"
    )
    assert reason(input=per_channel) == f"input: {rule.SUMMED}"
    assert reason(weight=by_input) == f"weight: {rule.SUMMED}"
    assert reason(input=lambda one: replace(one, bits=9)) == "input: codes of 9 bits do not fit a byte"
    assert isinstance(reason(), Weighted)


def test_the_arithmetic_shows_in_the_last_bits_of_what_one_block_gives(quantized, calibration):
    # With a quantizer behind it, a sum shows only where it crosses from one code to the next: on some CPUs nowhere.
    for site in ("blocks.0.mlp.fc2:linear", "blocks.0:add_1"):
        del quantized.quantizers[site]
    images = calibration.images
    exact = quantized.run(images, 0, 2)
    quantized.arithmetic = "float"
    plain = quantized.run(images, 0, 2)
    assert not torch.equal(exact, plain)
    assert torch.allclose(exact, plain, atol=1e-2 * float(plain.abs().max()))


SCHEMES = [
    ("repqvit", "w4a4", "operand a: log_sqrt2: values do not lie at equal steps", "matmul"),
    ("repqvit", "w4a4", "input: fractional zero points", "linear"),
    ("ptq4vit(steps=6,rounds=1)", "w6a6", "operand a: twin_softmax: values do not lie at equal steps", "matmul"),
    ("ptq4vit(steps=6,rounds=1)", "w6a6", "input: twin_gelu: values do not lie at equal steps", "linear"),
    ("adalog(candidates=32,steps=1,rounds=1,images=4)", "w4a4", "operand a: adaptive_log: values do", "matmul"),
    ("fqvit(lis=true)", "w8a8s4", "operand a: log_int_softmax: values do not lie at equal steps", "matmul"),
]


@pytest.mark.parametrize(("stack", "bits", "reason", "kind"), SCHEMES)
def test_schemes_that_are_not_uniform_are_refused_by_product(stack, bits, reason, kind, model, calibration, context):
    found = reasons(applied(model, calibration, context, stack, bits))
    assert [name for name, text in found.items() if text.startswith(reason) and name.startswith(kind)]


def test_what_a_block_adds_beside_itself_is_no_code(quantized):
    read = quantized.weights[QKV].read
    far = replace(read, route=replace(read.route, crosses="blocks.0"))
    assert not isinstance(rule.operand(quantized.edits, far), str)
    quantized.compensations["blocks.0"] = (torch.zeros(1), torch.zeros(1))
    assert rule.operand(quantized.edits, far) == rule.BESIDE


def test_padding_needs_a_code_for_zero_and_obstacles_are_named(quantized):
    read = quantized.weights[QKV].read
    site = read.route.site
    high = torch.tensor([300.0])
    quantized.quantizers[site] = replace(quantized.quantizers[site], zero_point=high)
    assert rule.operand(quantized.edits, replace(read, route=replace(read.route, pads=True))) == rule.NO_ZERO
    blocked = replace(read, route=replace(read.route, obstacle="add"))
    assert rule.operand(quantized.edits, blocked) == "add between quantizer and product"


def test_an_input_off_the_grid_is_multiplied_in_floating_point(quantized, calibration):
    """A stored input of another network may stand where codes are expected: only codes are taken for codes."""
    form = quantized.weights[QKV].integer_form()
    form.far = True
    width = quantized.weights[QKV].weight.shape[1]
    x = quantized.quantizers[quantized.weights[QKV].read.route.site](torch.randn(2, 5, width))
    assert form.takes(x)
    assert not form.takes(x + 0.3 * form.steps.step)


def test_switched_off_where_gradients_weights_or_dropped_parts_are_learned(quantized, calibration):
    images, runtime = calibration.images[:2], quantized.chain.runtime
    assert rule.switched_off(runtime) == ""
    with quantized.learning({QKV: torch.zeros(1)}):
        assert rule.switched_off(runtime) == rule.LEARNED
    with quantized.learning({}, (0.5, torch.Generator())):
        assert rule.switched_off(runtime) == rule.DROPPED
    quantized.arithmetic = "float"
    assert rule.switched_off(runtime) == rule.ASKED
    quantized.arithmetic = INTEGER
    site = quantized.weights[QKV].read.route.site
    quantizer = quantized.quantizers[site]
    scale = quantizer.scale.clone().requires_grad_()
    quantized.quantizers[site] = replace(quantizer, scale=scale)
    with torch.enable_grad():
        quantized.run(images).square().sum().backward()
    assert scale.grad is not None
    assert scale.grad.abs().sum() > 0
    quantized.clear()
    assert rule.switched_off(runtime) == rule.NOTHING
    assert torch.equal(quantized(images), quantized.full_precision(images))


@pytest.mark.parametrize(
    ("stack", "bits"),
    [("minmax", "w8a8"), ("minmax", "w4a8"), ("fqvit", "w8a8"), ("fqvit", "w4a8"), ("fqvit+omse+biascorr", "w4a8")],
)
def test_logits_are_equal_to_the_byte(stack, bits, model, calibration, context):
    """Over threads, batches and with oneDNN on and off. ``benchmarks/arithmetic.py`` does it for large networks."""
    images = calibration.images[:9]
    applied(model, calibration, context, stack, bits)
    expected, before = model(images), torch.get_num_threads()
    for threads, library, batch in ((1, False, 9), (2, True, 4), (1, True, 1)):
        torch.set_num_threads(threads)
        try:
            with torch.backends.mkldnn.flags(enabled=library):
                found = torch.cat([model(part) for part in images.split(batch)])
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found, expected), (threads, library, batch)


def test_a_restored_state_and_a_start_in_the_middle_give_the_same_bytes(quantized, calibration):
    images = calibration.images[:4]
    expected, state = quantized(images), state_of(quantized)
    with torch.no_grad():
        middle = quantized.run(images, 0, 2)
        assert torch.equal(quantized.run(middle, 2), expected)
    quantized.clear()
    restore(quantized, *state)
    assert torch.equal(quantized(images), expected)


def test_integers_are_as_near_to_full_precision_as_floats(quantized, calibration):
    """What differs is the order of sums: agreement of both, and the distance of both to the same third."""
    images = calibration.images
    exact, full = quantized(images), quantized.full_precision(images)
    quantized.arithmetic = "float"
    plain = quantized(images)
    assert (exact.argmax(1) == plain.argmax(1)).float().mean() > 0.9
    error = [(one - full).square().sum() for one in (exact, plain)]
    assert 0.8 < error[0] / error[1] < 1.25


def test_a_format_of_somebody_else_has_no_grid_unless_it_says_so():
    spec = AffineSpec(8)
    plain = from_range(spec, torch.tensor([-1.0]), torch.tensor([1.0]))

    class Odd(type(plain)):
        def quantize(self, x):
            return x.round()

    assert Odd(**vars(plain)).integer_grid() == "uniform: values do not lie at equal steps"
