"""Quantization arithmetic against float64 and brute force, written independently of the code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.quant.calibrate.observers import EmaObserver, MinMaxObserver, PercentileObserver, PowerOfTwoObserver
from harness.quant.format import arithmetic, range_search
from harness.quant.format.affine import AffineSpec
from harness.quant.format.power_of_two import power_of_two_scales
from harness.quant.format.row_correction import corrected_rows
from harness.quant.format.straight_through import fake_quantize_straight_through


def half_even(value: float) -> int:
    floor = math.floor(value)
    rest = value - floor
    if rest > 0.5 or (rest == 0.5 and floor % 2 == 1):
        return floor + 1
    return floor


def brute_fake_quantize(values, scale, zero_point, low, high):
    """One number at a time in float32 steps."""
    result = []
    for value in np.asarray(values, np.float32).ravel():
        position = np.float32(np.float32(value / np.float32(scale)) + np.float32(zero_point))
        code = min(max(half_even(float(position)), low), high)
        result.append(np.float32(code - zero_point) * np.float32(scale))
    return np.asarray(result, np.float32)


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30),
    st.floats(2**-10, 8, width=32),
    st.integers(2, 8),
    st.booleans(),
    st.integers(-20, 300),
)
@settings(max_examples=150, deadline=None)
def test_fake_quantize_equals_brute_force(values, scale, bits, signed, zero_point):
    low, high = arithmetic.integer_range(bits, signed)
    zero_point = min(max(zero_point, low), high)
    x = torch.tensor(values)
    got = arithmetic.fake_quantize(x, torch.tensor(scale), torch.tensor(float(zero_point)), low, high)
    assert np.array_equal(got.numpy(), brute_fake_quantize(values, scale, zero_point, low, high))


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40), st.integers(2, 8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_quantizing_twice_changes_nothing_and_codes_fit(values, bits, symmetric):
    x = torch.tensor(values)
    low, high = arithmetic.integer_range(bits, symmetric)
    scale, zero = arithmetic.affine_parameters(x.min(), x.max(), bits, signed=symmetric, symmetric=symmetric)
    once = arithmetic.fake_quantize(x, scale, zero, low, high)
    assert len(once.unique()) <= 2**bits
    assert torch.equal(arithmetic.fake_quantize(once, scale, zero, low, high), once)


def test_a_small_change_of_the_input_is_not_written_into_it():
    x = torch.linspace(-1, 1, 7)
    before = x.clone()
    arithmetic.fake_quantize(x, torch.tensor(0.1), torch.tensor(3.0), 0, 15)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "expected"),
    [(8, False, False, (0, 255)), (3, False, False, (0, 7)), (8, True, False, (-128, 127)), (4, True, True, (-7, 7))],
)
def test_integer_range(bits, signed, narrow, expected):
    assert arithmetic.integer_range(bits, signed, narrow) == expected


def test_min_max_parameters_against_float64():
    generator = torch.Generator().manual_seed(1)
    low = -torch.rand(200, generator=generator) * 5
    high = torch.rand(200, generator=generator) * 7
    scale, zero = arithmetic.affine_parameters(low, high, 4, signed=False, symmetric=False)
    expected = (high.double() - low.double()) / 15
    assert torch.allclose(scale.double(), expected, rtol=1e-6)
    assert torch.equal(zero.double(), (-(low.double() / scale.double()).round()).clamp(0, 15))
    scale, zero = arithmetic.affine_parameters(low, high, 8, signed=True, symmetric=True)
    assert torch.allclose(scale.double(), torch.maximum(-low, high).double() / 127.5, rtol=1e-6)
    assert not zero.any()


def test_range_without_zero_saturates_as_in_the_release():
    """The row .5 .6 .7 1.0 at 4 bits becomes .5 everywhere: the range is not forced to contain zero."""
    x = torch.tensor([0.5, 0.6, 0.7, 1.0])
    scale, zero = arithmetic.affine_parameters(x.min(), x.max(), 4, signed=False, symmetric=False)
    assert torch.allclose(arithmetic.fake_quantize(x, scale, zero, 0, 15), torch.full((4,), 0.5))


def test_constant_tensors_get_the_smallest_scale():
    scale, _ = arithmetic.affine_parameters(torch.zeros(1), torch.zeros(1), 8, signed=False, symmetric=False)
    assert scale.item() == pytest.approx(np.finfo(np.float32).eps)


def brute_omse(row, bits, minimum, maximum):
    """Best shrink factor of one row in float64."""
    best, best_error = None, math.inf
    for step in range(90):
        factor = 1 - 0.01 * step
        low, high = float(minimum) * factor, float(maximum) * factor
        scale = max((high - low) / (2**bits - 1), np.finfo(np.float32).eps)
        zero = min(max(-round(low / scale), 0), 2**bits - 1)
        codes = np.clip(np.round(row / scale + zero), 0, 2**bits - 1)
        error = np.mean((row - (codes - zero) * scale) ** 2)
        if error < best_error - 1e-12:
            best, best_error = factor, error
    return best, best_error


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_omse_per_row_equals_brute_force(bits):
    rows = torch.randn(12, 80, generator=torch.Generator().manual_seed(bits)) ** 3
    low, high = rows.aminmax(dim=1)
    got_low, got_high = range_search.shrink_search(rows, low, high, bits, signed=False, shared=False)
    for index, row in enumerate(rows.double().numpy()):
        factor, error = brute_omse(row, bits, low[index], high[index])
        scale, zero = arithmetic.affine_parameters(got_low[index], got_high[index], bits, signed=False, symmetric=False)
        ours = arithmetic.fake_quantize(rows[index], scale, zero, 0, 2**bits - 1)
        ours_error = float((rows[index] - ours).double().square().mean())
        assert ours_error <= error * (1 + 1e-4) + 1e-9
        assert float(got_high[index] / high[index]) == pytest.approx(factor, abs=0.0101)


def test_omse_shared_has_one_factor_and_is_never_better():
    rows = torch.randn(20, 64, generator=torch.Generator().manual_seed(0)) ** 3
    low, high = rows.aminmax(dim=1)
    shared = range_search.shrink_search(rows, low, high, 3, signed=False, shared=True)
    single = range_search.shrink_search(rows, low, high, 3, signed=False, shared=False)
    assert len((shared[1] / high).mul(1000).round().unique()) == 1

    def error(bounds):
        scale, zero = arithmetic.affine_parameters(*bounds, 3, signed=False, symmetric=False)
        return (rows - arithmetic.fake_quantize(rows, scale[:, None], zero[:, None], 0, 7)).square().mean()

    assert error(single) <= error(shared)


def test_power_of_two_factors_equal_brute_force():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 300, generator=generator) * torch.logspace(-2, 0.5, 24)[:, None]
    low, high = x.aminmax(dim=1)
    scale, zero = power_of_two_scales(x, low, high, 8)
    widest = (float(high.max()) - float(low.min())) / 255
    offset = -round(float(low.min()) / widest)
    assert zero.item() == offset
    for row, got in zip(x.double().numpy(), scale, strict=True):
        errors = []
        for factor in (1, 2, 4, 8):
            step = widest / 8 * factor
            codes = np.clip(np.round(row / step + offset), 0, 255)
            errors.append(np.mean((row - (codes - offset) * step) ** 2))
        assert float(got) == pytest.approx(widest / 8 * (1, 2, 4, 8)[int(np.argmin(errors))], rel=1e-5)


def test_power_of_two_takes_the_smaller_factor_on_a_tie_and_the_largest_when_none_covers():
    x = torch.zeros(2, 4)
    x[1] = torch.tensor([-3.0, 3.0, -3.0, 3.0])
    low, high = x.aminmax(dim=1)
    scale, _ = power_of_two_scales(x, low, high, 8)
    assert scale[1] / scale[0] == 8


def test_observer_ranges():
    spec = AffineSpec(8)
    batches = [torch.tensor([[0.0, 1.0]]), torch.tensor([[-2.0, 3.0]])]
    minmax, ema = MinMaxObserver(spec, 1), EmaObserver(spec, 1)
    for batch in batches:
        minmax.update(batch)
        ema.update(batch)
    assert [float(v) for v in minmax.range] == [-2.0, 3.0]
    assert [float(v) for v in ema.range] == pytest.approx([-0.02, 1.02])
    with pytest.raises(ValueError, match="no batch"):
        _ = MinMaxObserver(spec, 1).range


def test_percentile_equals_numpy():
    x = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    observer = PercentileObserver(AffineSpec(8), 1)
    observer.update(x)
    expected = np.quantile(x.double().numpy(), [1 - 0.99999, 0.99999])
    assert [float(v) for v in observer.range] == pytest.approx(expected.tolist(), rel=1e-4)


def test_ptf_observer_keeps_running_extremes_but_scores_the_last_batch():
    observer = PowerOfTwoObserver(AffineSpec(8), 1)
    first, last = torch.randn(8, 4) * 5, torch.randn(8, 4)
    observer.update(first)
    observer.update(last)
    quantizer = observer.finish(last)
    low = torch.minimum(first.amin(0), last.amin(0))
    high = torch.maximum(first.amax(0), last.amax(0))
    assert torch.equal(quantizer.minimum, low)
    assert torch.equal(quantizer.scale, power_of_two_scales(last.T.contiguous(), low, high, 8)[0])


def test_corrected_rows_restore_mean_and_deviation():
    weight = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    low, high = weight.aminmax(dim=1)
    scale, zero = arithmetic.affine_parameters(low, high, 3, signed=False, symmetric=False)
    coded = arithmetic.fake_quantize(weight, scale[:, None], zero[:, None], 0, 7)
    centred = corrected_rows(weight, coded, "centred").double()
    assert torch.allclose(centred.mean(1), weight.double().mean(1), atol=1e-6)
    assert torch.allclose(centred.std(1), weight.double().std(1), atol=1e-5)
    printed = corrected_rows(weight, coded, "paper").double()
    ratio = weight.double().std(1) / coded.double().std(1)
    assert torch.allclose(printed.mean(1), ratio * weight.double().mean(1), atol=1e-5)


def test_straight_through_gradients():
    x = torch.tensor([0.2, 0.9, 30.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    y = fake_quantize_straight_through(x, scale, torch.tensor(0.0), 0, 15)
    assert torch.equal(y.detach(), arithmetic.fake_quantize(x.detach(), torch.tensor(0.5), torch.tensor(0.0), 0, 15))
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]  # the last value is clipped
    # d/ds of round(x/s) s with straight-through rounding is (code - x/s); the clipped value gives the largest code.
    assert scale.grad.item() == pytest.approx((0 - 0.4) + (2 - 1.8) + 15)


def test_gradients_with_elements_that_stay_unquantized():
    """The one function against a chain of torch operations with straight-through rounding written out."""
    x = torch.randn(6, 5, requires_grad=True)
    scale = (torch.rand(5) + 0.1).requires_grad_(True)
    zero = torch.tensor([3.0, 8.0, 7.0, 0.0, 15.0])
    kept = torch.rand(6, 5) < 0.4
    weights = torch.randn(6, 5)
    position = x / scale + zero
    through = position + (position.round() - position).detach()
    clipped = torch.where(
        position.round() < 0, torch.zeros(()), torch.where(position.round() > 15, 15 * torch.ones(()), through)
    )
    (torch.where(kept, x, (clipped - zero) * scale) * weights).sum().backward()
    expected = x.grad.clone(), scale.grad.clone()
    x.grad = scale.grad = None
    (fake_quantize_straight_through(x, scale, zero, 0, 15, kept) * weights).sum().backward()
    assert torch.allclose(x.grad, expected[0], atol=1e-6)
    assert torch.allclose(scale.grad, expected[1], atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 40, 300), (2, 3)])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_gradients_of_parts_are_those_of_the_whole(shape, axis):
    """Large tensors go through the cache part by part, unless numbers differ along the first axis."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(shape, generator=generator).requires_grad_(True)
    scale = torch.rand(1 if axis is None else shape[axis], generator=generator) + 0.1
    scale = arithmetic.along(scale, x.ndim, axis or 0).requires_grad_(True)
    kept = torch.rand(shape, generator=generator) < 0.5
    weights = torch.randn(shape, generator=generator)
    y = fake_quantize_straight_through(x, scale, torch.tensor(3.0), 0, 15, kept)
    (y * weights).sum().backward()
    position = x.detach().double() / scale.detach().double()
    codes = (position + 3).round()
    inside = (codes >= 0) & (codes <= 15)
    levels = codes.clamp(0, 15) - 3
    assert torch.allclose(y.detach(), torch.where(kept, x.detach(), (levels * scale.detach()).float()), atol=1e-6)
    assert torch.equal(x.grad, weights * (inside | kept))
    slope = torch.where(kept, 0, levels - inside * position) * weights
    assert torch.allclose(scale.grad.double(), slope.sum_to_size(scale.shape), rtol=1e-3, atol=1e-2)


@given(count=st.integers(1, 300), fraction=st.floats(0.5, 1.0), seed=st.integers(0, 99))
def test_outer_quantiles_are_those_of_the_sorted_rows(count, fraction, seed):
    x = torch.randn(3, count, generator=torch.Generator().manual_seed(seed))
    ordered = x.sort(dim=1).values
    fractions = (fraction, 0.999, 0.99999)
    for (low, high), one in zip(range_search.outer_quantiles(x, fractions), fractions, strict=True):
        assert torch.equal(low, range_search.quantile(ordered, 1 - one))
        assert torch.equal(high, range_search.quantile(ordered, one))
