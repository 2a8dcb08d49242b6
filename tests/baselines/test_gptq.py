"""GPTQ against round-to-nearest and against its definition in the smallest case."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.baselines.engines.column_rounding import output_error, round_columns
from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range


def case(seed, bits=3, outputs=8, inputs=24, tokens=200):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator)
    x = (torch.randn(tokens, inputs, generator=generator) @ mixing).double()
    weight = torch.randn(outputs, inputs, generator=generator)
    quantizer = from_range(AffineSpec(bits, axis=0), weight.amin(1), weight.amax(1))
    return weight, quantizer, 2 * x.T @ x, x


@given(st.integers(0, 10**6), st.sampled_from([2, 3, 4, 8]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_output_error_is_far_below_round_to_nearest(seed, bits, order):
    weight, quantizer, hessian, x = case(seed, bits)
    rounded = round_columns(weight, quantizer, hessian, damping=0.01, order=order)
    nearest = quantizer.quantize(weight)
    ours, theirs = output_error(weight, rounded, hessian), output_error(weight, nearest, hessian)
    assert ours < theirs
    direct = 2 * ((x @ (weight - rounded).double().T) ** 2).sum().item()
    assert ours == pytest.approx(direct, rel=1e-6)
    codes = rounded / quantizer.scale[:, None] + quantizer.zero_point[:, None]
    assert (codes - codes.round()).abs().max() < 1e-3
    assert codes.round().min() >= 0
    assert codes.round().max() <= 2**bits - 1


def test_two_columns_by_hand():
    """The first column is rounded to nearest, the second takes over ``-H12 / H22`` of its error."""
    weight = torch.tensor([[0.4, 0.1]])
    quantizer = from_range(AffineSpec(2, signed=True, symmetric=True, axis=0), torch.tensor([-1.5]), torch.tensor([1.5]))
    hessian = torch.tensor([[2.0, 1.6], [1.6, 2.0]], dtype=torch.float64)
    rounded = round_columns(weight, quantizer, hessian, damping=1e-9, order=False)
    assert rounded[0, 0] == 0.0
    assert rounded[0, 1] == torch.round(torch.tensor(0.1 + 0.4 * 1.6 / 2.0))


def test_independent_inputs_make_it_round_to_nearest():
    weight, quantizer, _, _ = case(0)
    hessian = torch.eye(24, dtype=torch.float64)
    rounded = round_columns(weight, quantizer, hessian, damping=0.01, order=True)
    assert torch.allclose(rounded, quantizer.quantize(weight))


def test_on_a_network_it_lowers_every_layers_error(model, calibration, context):
    made = context("w3a8")
    for step in check("repqvit+gptq").steps:
        step.method.apply(model, calibration, made)
    errors = made.notes["output_error_nearest_and_gptq"]
    assert len(errors) == 25
    assert all(gptq <= nearest for nearest, gptq in errors.values())
    assert sum(gptq for _, gptq in errors.values()) < 0.6 * sum(nearest for nearest, _ in errors.values())
