"""COMQ's coordinate-wise minimisation against brute force over single codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.baselines.comq import minimise_codes
from harness.baselines.engines.column_rounding import output_error
from tests.baselines.applying import apply
from tests.baselines.test_gptq import case


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([2, 3, 4]))
def test_no_single_code_can_be_bettered_after_many_rounds(seed, greedy, bits):
    weight, quantizer, hessian, _ = case(seed, bits, outputs=3, inputs=6)
    rounded = minimise_codes(weight, quantizer, hessian, rounds=60, greedy=greedy)
    best = output_error(weight, rounded, hessian)
    low, high = quantizer.code_range
    for row in range(3):
        for column in range(6):
            for code in range(low, high + 1):
                other = rounded.clone()
                other[row, column] = (code - quantizer.zero_point[row]) * quantizer.scale[row]
                assert output_error(weight, other, hessian) >= best * (1 - 1e-5)


@given(st.integers(0, 10**6), st.booleans())
def test_further_rounds_only_lower_the_error(seed, greedy):
    weight, quantizer, hessian, _ = case(seed)
    errors = [
        output_error(weight, minimise_codes(weight, quantizer, hessian, rounds=rounds, greedy=greedy), hessian)
        for rounds in (1, 2, 4)
    ]
    assert errors[2] <= errors[1] * (1 + 1e-6) <= errors[0] * (1 + 1e-5)
    assert errors[0] < output_error(weight, quantizer.quantize(weight), hessian)


def test_independent_inputs_make_it_round_to_nearest():
    weight, quantizer, _, _ = case(0)
    hessian = torch.eye(24, dtype=torch.float64)
    rounded = minimise_codes(weight, quantizer, hessian, rounds=2, greedy=True)
    assert torch.allclose(rounded, quantizer.quantize(weight))


@pytest.mark.parametrize("inputs", ["full", "quantized"])
def test_on_a_network_it_lowers_every_layers_error(inputs, model, calibration, context):
    notes = apply(model, calibration, context, f"repqvit+comq(inputs={inputs})", bits="w3a8").notes
    errors = notes["output_error_nearest_and_comq"]
    assert len(errors) == 25
    assert all(comq <= nearest for nearest, comq in errors.values())
