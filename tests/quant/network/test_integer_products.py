"""Products on integer codes against 64-bit integers, bit for bit, on every shape they come in."""

import pytest
import torch
from torch.nn import functional as F

from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_free_range, from_range
from harness.quant.network import integer_products
from harness.quant.network.arithmetic_rule import product, weighted
from harness.quant.network.convolution import convolution_of
from harness.quant.network.edits import Edits
from harness.quant.network.integer_operations import Product, prepared
from harness.quant.network.integer_products import deep_int_matmul, float_int_matmul, int_matmul, matmul
from harness.quant.network.routes import Read

aten = torch.ops.aten


def uniform(x, bits, *, signed=False, symmetric=False, axis=None):
    """The format of a tensor's own range."""
    spec = AffineSpec(bits, signed=signed, symmetric=symmetric, axis=axis)
    if axis is None:
        return from_range(spec, x.min().reshape(1), x.max().reshape(1))
    rows = x.movedim(axis, 0).flatten(1)
    return from_range(spec, rows.amin(1), rows.amax(1))


def whole(quantizer, x):
    """``q - z`` in 64-bit integers, from the format's own codes."""
    shape = [1] * x.ndim
    if quantizer.zero_point.numel() > 1:
        shape[quantizer.axis] = -1
    return quantizer.codes(x).long() - quantizer.zero_point.long().reshape(shape)


def finished(total, gain, sums=None, offset=None, bias=None):
    """The one order of float operations, channels last."""
    y = total.to(torch.float32) * gain
    if offset is not None:
        y = y + sums.to(torch.float32) * offset
    return y if bias is None else y + bias


def on_codes(quantizers, x, weight, bias, convolution=None):
    """What the harness computes."""
    edits = Edits(quantizers=dict(zip(("x", "w"), quantizers, strict=True)))
    found = weighted(edits, Read("x"), "w", convolution, weight)
    assert not isinstance(found, str), found
    return prepared(*found, quantizers[1], weight, weight, convolution)(quantizers[0](x), bias)


CODES = [
    (bits, signed, symmetric, per_channel)
    for bits in range(2, 9)
    for signed, symmetric in ((False, False), (True, True), (True, False))
    for per_channel in (True, False)
]


@pytest.mark.parametrize(("bits", "signed", "symmetric", "per_channel"), CODES)
@pytest.mark.parametrize("shape", [(5, 24), (3, 7, 24), (1, 24)])
def test_linear_operations_of_all_widths(bits, signed, symmetric, per_channel, shape):
    x, weight, bias = torch.randn(shape) + 0.4, torch.randn(10, 24), torch.randn(10)
    of_x = uniform(x, bits, signed=signed, symmetric=symmetric)
    of_weight = uniform(weight, bits, signed=signed, symmetric=symmetric, axis=0 if per_channel else None)
    total = whole(of_x, x) @ whole(of_weight, weight).t()
    expected = finished(total, of_x.scale * of_weight.scale, bias=bias)
    assert torch.equal(on_codes((of_x, of_weight), x, weight, bias), expected)


@pytest.mark.parametrize("form", ["centred", "paper"])
def test_corrected_weights_are_a_gain_and_an_offset_times_the_sum_of_the_input(form):
    x, weight, bias = torch.rand(3, 7, 24), torch.randn(10, 24) + 0.1, torch.randn(10)
    of_x = uniform(x, 8)
    of_weight = uniform(weight, 3, axis=0)
    corrected = type(of_weight)(**{**vars(of_weight), "correction": form})
    y = on_codes((of_x, corrected), x, weight, bias)
    real = F.linear(of_x(x).double(), corrected.weight(weight, weight).double(), bias.double())
    assert torch.allclose(y.double(), real, atol=1e-5)
    plain = on_codes((of_x, of_weight), x, weight, bias)
    assert not torch.allclose(y, plain, atol=1e-2), "the correction must show"


def test_without_a_bias_and_with_a_rounded_weight():
    x, weight = torch.randn(6, 8), torch.randn(4, 8)
    of_x, of_weight = uniform(x, 8), uniform(weight, 4, axis=0)
    rounded = of_weight.quantize(weight) + of_weight.scale[:, None]  # a method rounded the other way
    total = whole(of_x, x) @ whole(of_weight, rounded).t()
    assert torch.equal(on_codes((of_x, of_weight), x, rounded, None), finished(total, of_x.scale * of_weight.scale))


CONVOLUTIONS = [
    ("patches", (2, 3, 8, 8), (6, 3, 4, 4), [4], {}),
    ("plain", (2, 5, 9, 7), (6, 5, 3, 3), [], {}),
    ("padded", (1, 4, 7, 9), (6, 4, 3, 3), [[1, 1], [1, 1]], {}),
    ("uneven", (2, 4, 9, 8), (6, 4, 3, 5), [[2, 1], [0, 2], [2, 1]], {}),
    ("pointwise", (2, 8, 5, 5), (6, 8, 1, 1), [2], {}),
    ("groups", (2, 8, 7, 7), (6, 4, 3, 3), [[1, 1], [1, 1], [1, 1], 2], {}),
    ("depthwise", (2, 6, 7, 7), (6, 1, 3, 3), [[2, 2], [1, 1], [1, 1], 6], {}),
    ("same", (2, 6, 7, 7), (6, 1, 4, 3), [], {"padding": "same", "groups": 6}),
]


@pytest.mark.parametrize(
    ("name", "size", "kernel", "arguments", "options"), CONVOLUTIONS, ids=[one[0] for one in CONVOLUTIONS]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("correction", ["", "centred"])
def test_convolutions(name, size, kernel, arguments, options, layout, bits, correction):
    x, weight, bias = torch.randn(size).contiguous(memory_format=layout), torch.randn(kernel), torch.randn(kernel[0])
    of_x, of_weight = uniform(x, 8), uniform(weight, bits, axis=0)
    of_weight = type(of_weight)(**{**vars(of_weight), "correction": correction})
    target = aten.conv2d.padding if options else aten.conv2d.default
    named = dict(zip(("stride", "padding", "dilation", "groups"), arguments, strict=False)) | options
    call = {name: tuple(value) if isinstance(value, list) else value for name, value in named.items()}
    convolution = convolution_of(target, arguments, options, weight)
    y = on_codes((of_x, of_weight), x, weight, bias, convolution)
    exact = F.conv2d(whole(of_x, x).double(), whole(of_weight, weight).double(), **call)
    if not correction:
        scale = (of_x.scale * of_weight.scale).reshape(1, -1, 1, 1)
        assert torch.equal(y, exact.float() * scale + bias.reshape(1, -1, 1, 1))
    real = F.conv2d(of_x(x).double(), of_weight.weight(weight, weight).double(), bias.double(), **call)
    assert torch.allclose(y.double(), real, atol=1e-4)
    assert y.is_contiguous() == x.is_contiguous()


def attention(a, b, of_a, of_b):
    edits = Edits(quantizers={"a": of_a, "b": of_b})
    found = product(edits, (Read("a", rank=a.ndim), Read("b", rank=b.ndim)))
    assert not isinstance(found, str), found
    return Product(*found, (a.ndim, b.ndim))(of_a(a), of_b(b))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("per_head", [False, True])
def test_products_of_computed_tensors(bits, signed, per_head):
    """Queries with transposed keys, probabilities with values: one operand is a transposed view in either."""
    q, k = torch.randn(2, 3, 9, 5), torch.randn(2, 3, 9, 5).transpose(-2, -1)
    p, v = torch.rand(2, 3, 9, 9), torch.randn(2, 9, 3, 5).transpose(1, 2)
    for a, b in ((q, k), (p, v)):
        axis = 1 if per_head else None
        of_a, of_b = uniform(a, bits, signed=signed, axis=axis), uniform(b, bits, signed=signed, axis=axis)
        scale = of_a.scale * of_b.scale
        expected = (whole(of_a, a) @ whole(of_b, b)).float() * (scale.reshape(-1, 1, 1) if per_head else scale)
        assert torch.equal(attention(a, b, of_a, of_b), expected)


def test_sums_beyond_the_integers_of_float32_are_split():
    """All codes at their ends: 600 * 255 * 255 is beyond 2^24."""
    ends = torch.tensor([-1.0, 1.0])
    a, b = ends[torch.randint(0, 2, (4, 600))], ends[torch.randint(0, 2, (600, 4))]
    a[0], b[:, 0] = 1.0, 1.0
    of_a = from_free_range(AffineSpec(8), torch.tensor([-1.0]), torch.tensor([1.0]))
    for quantizer in (of_a, type(of_a)(**{**vars(of_a), "zero_point": torch.tensor([0.0])})):
        shifted = (a + 1) if quantizer is not of_a else a
        other = (b + 1) if quantizer is not of_a else b
        expected = (whole(quantizer, shifted) @ whole(quantizer, other)).float() * quantizer.scale**2
        assert torch.equal(attention(shifted, other, quantizer, quantizer), expected)
    ends = torch.full((1, 600), 255.0), torch.full((600, 1), 255.0)
    assert matmul(*ends, 255**2).item() == 600 * 255**2


@pytest.mark.parametrize("reach", [255 * 255, 2**20, 2**23])
def test_all_ways_to_multiply_floats_are_exact(reach):
    top = int(reach**0.5)
    a, b = torch.randint(-top, top + 1, (3, 5, 700)), torch.randint(-top, top + 1, (3, 700, 4))
    assert torch.equal(matmul(a.float(), b.float(), reach), (a @ b).float())


@pytest.mark.parametrize("depth", [1, 64, 1024, 1025, 3000])
def test_both_integer_kernels_are_exact_at_the_ends(depth):
    ends = torch.tensor([-128, 127], dtype=torch.int8)
    a, b = ends[torch.randint(0, 2, (9, depth))], ends[torch.randint(0, 2, (depth, 16))]
    a[0], b[:, 0] = -128, -128
    expected = (a.long() @ b.long()).int()
    assert torch.equal(int_matmul(a, b), expected)
    assert torch.equal(float_int_matmul(a, b), expected)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(int_matmul(a, b), expected)


def test_sums_beyond_32_bits_are_kept_in_64(monkeypatch):
    a, b = torch.full((2, 40), 127, dtype=torch.int8), torch.full((40, 3), -128, dtype=torch.int8)
    monkeypatch.setattr(integer_products, "EXACT_INT", 2**18)
    total = deep_int_matmul(a, b, 255 * 255)
    assert total.dtype == torch.int64
    assert torch.equal(total, a.long() @ b.long())


def test_a_weight_whose_sums_leave_32_bits(monkeypatch):
    monkeypatch.setattr(integer_products, "EXACT_INT", 2**18)
    x, weight = torch.rand(4, 100) + 3, torch.rand(5, 100) + 3
    of_x, of_weight = uniform(x, 8), uniform(weight, 8, axis=0)
    expected = finished(whole(of_x, x) @ whole(of_weight, weight).t(), of_x.scale * of_weight.scale)
    assert torch.equal(on_codes((of_x, of_weight), x, weight, None), expected)


@pytest.mark.parametrize("signed", [False, True])
def test_large_matrices_are_multiplied_as_bytes(signed, monkeypatch):
    """One matrix after the other on int8 codes, views of one tensor with queries, keys and values; the same integers."""
    q, k, v = torch.randn(2, 130, 3, 2, 64).permute(2, 0, 3, 1, 4).unbind(0)
    p = torch.rand(2, 2, 130, 130)
    used = []
    monkeypatch.setattr(Product, "_into", lambda self, *parts, known=Product._into: used.append(1) or known(self, *parts))
    for a, b in ((q, k.transpose(-2, -1)), (p, v)):
        of_a, of_b = uniform(a, 8, signed=signed), uniform(b, 4, signed=signed)
        expected = (whole(of_a, a) @ whole(of_b, b)).float() * (of_a.scale * of_b.scale)
        assert torch.equal(attention(a, b, of_a, of_b), expected)
    assert len(used) == (4 if integer_products.int_kernel() else 0)


def test_what_is_not_a_number_stays_none():
    """NaN has no code; a network that diverges must show it. Other rows and images are as they were."""
    x, weight, images, kernel = torch.randn(5, 24), torch.randn(10, 24), torch.randn(3, 4, 6, 6), torch.randn(5, 4, 3, 3)
    for one, other, kind in ((x, weight, None), (images, kernel, convolution_of(aten.conv2d.default, [], {}, kernel))):
        formats = uniform(one, 8), uniform(other, 8, axis=0)
        good, bad = on_codes(formats, one, other, None, kind), one.clone()
        bad[1].view(-1)[3] = torch.nan
        found = on_codes(formats, bad, other, None, kind)
        assert found[1].isnan().all()
        assert torch.equal(found[2:], good[2:])
    for size in (8, 130):  # all at once as floats, one after the other as bytes
        a, b = torch.randn(2, 2, size, 64), torch.randn(2, 2, 64, size)
        formats, bad = (uniform(a, 8), uniform(b, 8)), a.clone()
        bad[1, 0, 3, 3] = torch.nan
        found = attention(bad, b, *formats)
        assert found[1, 0, 3].isnan().all()
        assert torch.equal(found[0], attention(a, b, *formats)[0])
