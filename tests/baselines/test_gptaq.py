"""GPTAQ's correction against a brute-force minimum of what it minimises, and GPTQ as its limit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.baselines.engines.column_rounding import Asymmetry, cross_gram, round_columns
from harness.baselines.gptaq import asymmetric_error
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from tests.baselines.applying import apply


def case(seed, bits=3, outputs=6, inputs=12, tokens=100):
    """A weight, its quantizer, inputs in full precision and quantized ones ``(tokens, inputs)``."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(inputs, inputs, generator=generator)
    full = (torch.randn(tokens, inputs, generator=generator) @ mixing).double()
    quantized = full + 0.3 * torch.randn(tokens, inputs, generator=generator) @ mixing.double().flip(0).float()
    weight = torch.randn(outputs, inputs, generator=generator)
    return weight, from_range(AffineSpec(bits, axis=0), weight.amin(1), weight.amax(1)), full, quantized.double()


@given(st.integers(0, 10**6))
def test_one_column_is_the_minimum_found_by_brute_force(seed):
    """With the first column rounded, the others move to where the outputs fit its part of the full-precision outputs.

    A grid so fine that the others are hardly rounded shows where they moved.
    """
    weight, _, full, quantized = case(seed, inputs=5)
    weight = weight.double()
    hessian, cross = (2 * one for one in cross_gram(5, [(quantized, full)]))
    inverse = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    corrections = Asymmetry(cross).corrections(torch.arange(5), inverse)
    rounded = torch.round(weight[:, :1])
    moved = weight[:, 1:] - (weight[:, :1] - rounded) / inverse[0, 0] * inverse[0, 1:] + weight[:, :1] * corrections[0, 1:]
    # min over the rest: || rounded x_0 + rest X_rest - w_0 x'_0 - w_rest X_rest ||
    wanted = full[:, :1] @ weight[:, :1].T - quantized[:, :1] @ rounded.T + quantized[:, 1:] @ weight[:, 1:].T
    best = torch.linalg.lstsq(quantized[:, 1:], wanted).solution.T
    assert torch.allclose(moved, best, rtol=1e-6, atol=1e-8)


@given(st.integers(0, 10**6), st.booleans())
def test_without_a_difference_of_inputs_it_is_gptq(seed, order):
    weight, quantizer, full, _ = case(seed)
    hessian, cross = cross_gram(weight.shape[1], [(full, full)])
    settings = {"damping": 0.01, "order": order}
    plain = round_columns(weight, quantizer, hessian, **settings)
    assert torch.equal(round_columns(weight, quantizer, hessian, asymmetry=Asymmetry(cross), **settings), plain)


@pytest.mark.parametrize("order", [False, True])
def test_it_is_nearer_to_the_full_precision_outputs(order):
    gains = []
    for seed in range(30):
        weight, quantizer, full, quantized = case(seed, bits=4)
        hessian, cross = (2 * one for one in cross_gram(weight.shape[1], [(quantized, full)]))
        errors = []
        for asymmetry in (None, Asymmetry(cross)):
            rounded = round_columns(weight, quantizer, hessian, damping=0.01, order=order, asymmetry=asymmetry)
            errors.append((quantized @ rounded.double().T - full @ weight.double().T).square().sum())
            constant = ((full - quantized) @ weight.double().T).square().sum()
            direct = asymmetric_error(weight, rounded, hessian, cross) / 2 + constant
            assert errors[-1].item() == pytest.approx(direct.item(), rel=1e-6)
            codes = rounded / quantizer.scale[:, None] + quantizer.zero_point[:, None]
            assert (codes - codes.round()).abs().max() < 1e-3
        gains.append((errors[1] / errors[0]).item())
    assert sum(gains) / len(gains) < 0.94  # the best unrounded weight: 0.8


def test_on_a_network_it_lowers_the_error_against_full_precision(model, calibration, context):
    notes = apply(model, calibration, context, "repqvit+gptaq", bits="w3a4").notes
    errors = notes["output_error_nearest_and_gptaq"]
    assert len(errors) == 25
    assert sum(gptaq < nearest for nearest, gptaq in errors.values()) >= 22
