"""What each placement quantizes, and with which codes, against written expectations: a transformer and a CNN."""

import pytest
import torch

from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError
from harness.method.stack import check
from harness.quant.calibrate.placement import Placement, is_deployed
from harness.quant.network.inventory import off_grid_sites
from harness.testing.applying import apply
from harness.trial.bits import Bits
from tests.quant.calibrate.small_networks import (
    CNN_READ,
    CNN_WEIGHTS,
    IMAGE,
    VIT_OPERANDS,
    VIT_READ,
    VIT_WEIGHTS,
    cleared,
    few_images,
)

VIT_VALUES = [
    "input",
    "patch_embed.proj:conv",
    "model:cat",
    "pos_embed",
    "model:add",
    "blocks.0.norm1:layer_norm",
    "blocks.0.attn.qkv:linear",
    "blocks.0.attn:matmul",
    "blocks.0.attn:softmax",
    "blocks.0.attn:matmul_1",
    "blocks.0.attn.proj:linear",
    "blocks.0:add",
    "blocks.0.norm2:layer_norm",
    "blocks.0.mlp.act:activation",
    "blocks.0.mlp.fc2:linear",
    "blocks.0:add_1",
    "norm:layer_norm",
    "head:linear",
]
CNN_VALUES = [
    "input",
    "model:activation",
    "model:activation_1",
    "depthwise:conv",
    "model:activation_2",
    "model:mean",
    "fc:linear",
]
OBSERVERS = ("minmax", "ema", "percentile")
# Schemes over operands with settings for a test, whether they leave the image in full precision, and their codes of inputs.
SEARCHES = {
    "repqvit": ("images=8", False, (0, 255)),
    "easyquant": ("steps=6", True, (-128, 127)),
    "ptq4vit": ("steps=6,rounds=1", True, (-128, 127)),
    "rankaware": ("steps=6,rounds=1", False, (-128, 127)),
    "adalog": ("candidates=32,steps=1,rounds=1,images=4", True, (0, 255)),
}


def installed(name, stack, bits="w4a8"):
    model = cleared(name)
    apply(check(stack).steps, model, few_images(), bits)
    return model


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement("values"), VIT_VALUES),
        (Placement("operands"), VIT_OPERANDS),
        (Placement("deploy"), VIT_READ),
        (Placement("deploy", attention=True), VIT_OPERANDS),
        (Placement("deploy", image=False), VIT_READ[1:]),
    ],
)
def test_sites_of_a_transformer(placement, expected):
    assert [site.name for site in placement.among(cleared("vit"))] == expected


@pytest.mark.parametrize(
    ("placement", "expected"),
    [(Placement("values"), CNN_VALUES), (Placement("operands"), CNN_READ), (Placement("deploy"), CNN_READ)],
)
def test_sites_of_a_cnn(placement, expected):
    assert [site.name for site in placement.among(cleared("cnn"))] == expected


@pytest.mark.parametrize("scheme", OBSERVERS)
@pytest.mark.parametrize(("sites", "expected"), [("values", VIT_VALUES), ("operands", VIT_OPERANDS)])
def test_observers_install_values_or_operands_and_all_weights(scheme, sites, expected):
    assert set(installed("vit", f"{scheme}(sites={sites})").quantizers) == {*expected, *VIT_WEIGHTS}


@pytest.mark.parametrize("bits", ["w4a8", "w8a8"])
@pytest.mark.parametrize(("name", "read", "weights"), [("vit", VIT_READ, VIT_WEIGHTS), ("cnn", CNN_READ, CNN_WEIGHTS)])
@pytest.mark.parametrize("scheme", [*OBSERVERS, *SEARCHES])
def test_deploy_installs_inputs_and_all_weights_stem_and_classifier_included(scheme, name, read, weights, bits):
    settings, without_image, codes = SEARCHES.get(scheme, ("batch=8", False, (0, 255)))
    model = installed(name, f"{scheme}(sites=deploy,{settings})", bits)
    expected = read[1:] if without_image else read
    assert set(model.quantizers) == {*expected, *weights}
    assert is_deployed(model)
    assert not off_grid_sites(model)
    for site in expected:
        one = model.quantizers[site]
        assert (one.bits, one.axis, one.scale.numel(), one.code_range) == (8, None, 1, codes)
        assert one.zero_point.item() in range(codes[0], codes[1] + 1)
    largest = {"w4a8": 7, "w8a8": 127}[bits]
    for site in weights:
        one, channels = model.quantizers[site], len(model.weights[site].weight)
        assert (one.axis, one.scale.numel(), one.code_range) == (0, channels, (-largest, largest))
        assert not one.zero_point.any()


@pytest.mark.parametrize("scheme", ["minmax", *SEARCHES])
def test_attention_products_by_a_switch_with_one_scale_each(scheme):
    settings, without_image, codes = SEARCHES.get(scheme, ("batch=8", False, (0, 255)))
    model = installed("vit", f"{scheme}(sites=deploy,attention=true,{settings})")
    read = [site for site in VIT_OPERANDS if site != IMAGE or not without_image]
    assert set(model.quantizers) == {*read, *VIT_WEIGHTS}
    assert {(model.quantizers[site].scale.numel(), model.quantizers[site].code_range) for site in read} == {(1, codes)}


@pytest.mark.parametrize("scheme", ["easyquant", "ptq4vit", "adalog"])
def test_the_image_can_have_codes_where_the_paper_leaves_it(scheme):
    model = installed("vit", f"{scheme}(sites=deploy,image=quantized,{SEARCHES[scheme][0]})", "w4a4")
    assert model.quantizers[IMAGE].bits == 8
    assert {model.quantizers[site].bits for site in VIT_READ[1:]} == {4}


def test_weights_at_eight_bits_leave_out_the_most_negative_code():
    spec = Placement("deploy").weight_spec(8)
    assert (spec.code_range, spec.symmetric, spec.axis) == ((-127, 127), True, 0)
    assert Placement("values").weight_spec(8).code_range == (0, 255)
    assert Placement("operands").weight_spec(8, symmetric=True).code_range == (-128, 127)
    assert Placement("values").weight_spec(8, symmetric=True, narrow=True).code_range == (-127, 127)


def test_symmetric_activations_are_signed_down_to_the_code_at_which_runtimes_saturate():
    model = installed("vit", "minmax(sites=deploy,activations=symmetric)")
    for site in VIT_READ:
        one = model.quantizers[site]
        assert (one.code_range, one.symmetric, one.zero_point.item()) == ((-128, 127), True, 0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("stack", ["minmax", "ema", "percentile", "repqvit", "minmax+omse"])
def test_a_range_beside_zero_is_not_cut_off(stack, sign):
    """Zero points must be codes, so the range reaches to zero: images from 5 to 6 else lose everything above 1."""
    scheme, plus, step = stack.partition("+")
    images = CalibrationSet(sign * (5 + torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))))
    model = cleared("vit")
    apply(check(f"{scheme}(sites=deploy){plus}{step}").steps, model, images, "w8a8")
    quantizer = model.quantizers[IMAGE]
    assert quantizer.zero_point.item() == (0 if sign > 0 else 255)
    assert (quantizer(images.images) - images.images).abs().max() < 0.05


def test_widths_of_the_image_and_of_probabilities():
    sites, bits = cleared("vit").sites, Bits.parse("w4a4s6")
    for placement in (Placement("operands"), Placement("deploy", attention=True)):
        assert placement.width(sites[IMAGE], bits) == 8
        assert placement.width(sites["blocks.0.attn:matmul_1[a]"], bits) == 6
        assert placement.width(sites["head:linear[x]"], bits) == 4
    assert Placement("values").width(sites["input"], bits) == 4


@pytest.mark.parametrize(
    "stack",
    [
        "minmax",
        "minmax(sites=operands,weights=symmetric)",
        "fqvit(weights=symmetric,narrow_range=true)",
        "easyquant(steps=6)",
    ],
)
def test_no_other_placement_is_taken_for_deploy(stack):
    assert not is_deployed(cleared("vit")), "nothing is quantized"
    assert not is_deployed(installed("vit", stack))


@pytest.mark.parametrize("bits", ["w4a8", "w8a8"])
@pytest.mark.parametrize("activations", ["asymmetric", "symmetric"])
@pytest.mark.parametrize(
    "steps",
    [
        "omse",
        "omse+gptq(batch=8)",
        "biascorr(form=empirical,batch=8)",
        "evolq(passes=1,cycles=1)",
        "adaround(iterations=2,batch=8)",
        "smoothquant",
        "erq(batch=8)",
        "brecq(iterations=2,batch=8,scale_iterations=2)",
        "fimaq(iterations=2,rank=1,batch=8,tokens=false)",
    ],
)
def test_later_steps_keep_what_deploy_fixes(steps, activations, bits):
    model = installed("vit", f"minmax(sites=deploy,activations={activations})+{steps}", bits)
    assert is_deployed(model)
    assert not off_grid_sites(model)
    for site in VIT_READ:
        one = model.quantizers[site]
        assert (one.symmetric, one.signed, one.axis) == (*2 * [activations == "symmetric"], None)
        assert not (one.symmetric and one.zero_point.any())


def test_the_closed_form_of_bias_correction_works_on_symmetric_weights():
    model = installed("vit", "minmax(sites=deploy)+biascorr", "w4a8")
    assert is_deployed(model)
    assert all(model.quantizers[site].correction for site in VIT_WEIGHTS)


@pytest.mark.parametrize("step", ["groupwise", "fimaq(iterations=2,rank=1,batch=8)"])
def test_steps_that_split_the_scale_of_an_input_are_refused_with_what_to_use(step):
    with pytest.raises(
        IncompatibleError, match=r"sites=deploy would no longer be true .use (smoothquant|fimaq.tokens=false)"
    ):
        installed("vit", f"minmax(sites=deploy)+{step}")
    installed("vit", f"minmax(sites=operands)+{step}")


def test_shrunken_ranges_of_symmetric_weights_lower_the_error_and_match_a_brute_force():
    plain = {name: one.scale for name, one in installed("vit", "minmax(sites=deploy)").quantizers.items()}
    model = installed("vit", "minmax(sites=deploy)+omse(targets=weights)")
    for name in VIT_WEIGHTS:
        rows = model.weights[name].present_weight.flatten(1).double()
        bound = rows.abs().amax(dim=1)
        errors = []
        for step in range(90):
            scale = (bound * (1 - 0.01 * step) / 7)[:, None]
            errors.append(((rows / scale).round().clamp(-7, 7) * scale - rows).square().sum(dim=1))
        scale = model.quantizers[name].scale.double()[:, None]
        ours = ((rows / scale).round().clamp(-7, 7) * scale - rows).square().sum(dim=1)
        assert torch.allclose(ours, torch.stack(errors).amin(dim=0), rtol=1e-4)
        assert (ours <= errors[0] * (1 + 1e-6)).all()
        assert (model.quantizers[name].scale < plain[name] * 0.999).any()


@pytest.mark.parametrize(("setting", "symmetric"), [("auto", False), ("keep", True)])
def test_omse_frees_other_symmetric_weights_as_released_unless_told_otherwise(setting, symmetric):
    model = installed("vit", f"minmax(weights=symmetric)+omse(symmetric={setting})")
    weights = [model.quantizers[site] for site in VIT_WEIGHTS]
    assert {one.symmetric for one in weights} == {symmetric}
    assert any(one.zero_point.any() for one in weights) is not symmetric
