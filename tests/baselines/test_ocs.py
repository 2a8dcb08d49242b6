"""Outlier channel splitting: what stays, what shrinks, what it costs."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.baselines.ocs import Parts, split_format
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.inventory import size_bytes
from tests.baselines.applying import apply


def case(seed, bits=4, outputs=6, inputs=20, axis=None):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator)
    weight[:, 3] *= 6
    rows = weight.reshape(1, -1) if axis is None else weight
    spec = AffineSpec(bits, signed=True, symmetric=True, axis=axis)
    return weight, from_range(spec, rows.amin(1), rows.amax(1))


@given(st.integers(0, 10**6), st.floats(0.01, 0.6), st.sampled_from([None, 0]))
def test_columns_add_up_to_the_weight(seed, ratio, axis):
    weight, quantizer = case(seed, axis=axis)
    for scale in (None, quantizer.scale):
        parts = Parts.of(weight).after(int(ratio * 20), scale)
        added = torch.zeros_like(weight).index_add_(1, parts.columns, parts.values(scale))
        assert torch.allclose(added, weight, atol=1e-5)


def test_the_range_halves_and_the_error_falls():
    weight, quantizer = case(0)
    split = split_format(weight, quantizer, 0.05)
    assert split.columns.tolist() == [*range(20), 3]
    assert torch.allclose(split.scale, quantizer.scale / 2)
    assert (split.quantize(weight) - weight).square().sum() < 0.4 * (quantizer.quantize(weight) - weight).square().sum()


@given(st.integers(0, 10**6))
def test_a_split_weight_rounds_as_if_it_were_whole(seed):
    """Halves that are half a step apart round to two codes that add up to the code of the whole (paper, Sec. 3.3)."""
    weight, quantizer = case(seed, bits=8)
    split = split_format(weight, quantizer, 0.05)
    whole = torch.round(weight / split.scale)[:, 3].clamp(2 * split.low, 2 * split.high)
    assert torch.equal(split.codes(weight)[:, 3], whole.int())
    assert torch.allclose(split.quantize(weight)[:, 3], whole * split.scale, atol=1e-4)


def test_the_grown_size_is_counted(model, calibration, context):
    apply(model, calibration, context, "minmax", bits="w4a8")
    before, macs = size_bytes(model), {name: one.weight for name, one in model.weights.items()}
    model.clear()
    notes = apply(model, calibration, context, "minmax+ocs(ratio=0.1)", bits="w4a8").notes
    read = {name: weight for name, weight in macs.items() if not name.startswith("patch_embed")}
    grown = sum(-(-weight.shape[1] // 10) * len(weight) for weight in read.values())
    further = sum(-(-weight.shape[1] // 10) for weight in read.values())
    assert notes["grown_codes"] == grown
    assert size_bytes(model) - before == grown // 2 + 2 * further


def test_a_correction_before_it_stays(model, calibration, context):
    apply(model, calibration, context, "fqvit+biascorr", bits="w4a8")
    before = {name for name in model.weights if model.quantizers[name].correction}
    model.clear()
    apply(model, calibration, context, "fqvit+biascorr+ocs", bits="w4a8")
    assert len(before) > 20
    assert {name for name in model.weights if model.quantizers[name].correction} == before
