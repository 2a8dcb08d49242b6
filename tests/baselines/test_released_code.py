"""Numbers that the authors' released codes gave on the embedded network and on small problems, against ours.

``docs/conformance.md`` says which code and how it was run. The files hold numbers only. Most agree to the last bit on the
machine they were made on; sums of floats differ elsewhere, and a search then takes a neighbouring candidate now and then.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.baselines import erq, repqvit
from harness.baselines.engines import layer_search
from harness.baselines.engines.operation_search import Installing, OperationSearch
from harness.baselines.engines.quantizer_spaces import SearchEffort
from harness.baselines.engines.reconstruction_losses import Fima, mse
from harness.baselines.engines.reconstruction_units import ReconstructionConfig, Unit, learn
from harness.baselines.engines.ridge_rounding import Moments, ridge_update, round_halves
from harness.baselines.engines.segment_operations import operations_of
from harness.baselines.engines.soft_rounding import SoftRounding
from harness.data.preprocessing import of_model
from harness.data.sets import CalibrationSet
from harness.engines.layerwise import walk
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.machine.memory import Kept
from harness.machine.progress import Task
from harness.models.loading import load_model
from harness.quant.calibrate.placement import Placement
from harness.quant.format.affine import AffineSpec
from harness.quant.format.arithmetic import channel_rows
from harness.quant.format.range_search import percentile_search
from harness.quant.format.rounded_first import RoundedFirst
from harness.quant.format.uniform import Uniform, from_free_range
from harness.quant.network.operators import MatMul, WeightedOperation
from harness.quant.network.qmodel import quantizable
from harness.quant.network.routes import Read
from harness.quant.network.runtime import Runtime
from harness.trial.bits import Bits
from tests.baselines.applying import apply
from tests.lanes import nightly
from tests.shared import DEIT, REFERENCE, requires_reference

DATA = Path(__file__).with_name("data")
BLOCK = "blocks.1"


def released(name):
    """The arrays of one peer, by name."""
    with np.load(DATA / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def share_equal(ours, theirs, tolerance=1e-4):
    """Share of numbers that agree."""
    ours, theirs = ours.detach().flatten().float(), theirs.flatten().float()
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs() <= tolerance * theirs.abs().clamp_min(1e-9)).float().mean())


@pytest.mark.parametrize(("name", "axis"), [("channels", 2), ("tensor", None), ("weight", 0)])
def test_repqvit_takes_the_ranges_of_the_released_code(name, axis):
    """LayerNorm outputs by channel (some of them beside zero: the zero point is no code then), a tensor, a weight by row."""
    data = released("repqvit")
    values = data[name]
    rows = values.reshape(1, -1) if axis is None else channel_rows(values, axis)
    ours = from_free_range(AffineSpec(4, axis=axis), *percentile_search(rows, 4, repqvit.FRACTIONS))
    assert share_equal(ours.scale, data[f"{name}_scale"]) == 1
    assert torch.equal(ours.zero_point, data[f"{name}_zero"])


def test_repqvit_rounds_like_the_released_code():
    data = released("repqvit")
    ours = repqvit._log_sqrt2(data["softmax"], 4)
    assert torch.allclose(ours.scale, data["softmax_scale"])
    assert torch.allclose(ours(data["softmax"]), data["softmax_values"], atol=1e-6)
    one = torch.ones(1)
    fraction = RoundedFirst.of(AffineSpec(4, fractional=True), 0.31 * one, 7.37 * one, -one, one)
    assert torch.allclose(fraction(data["channels"]), data["fraction_values"], atol=1e-6)


def reference_images(preprocessing, count):
    """The first images of the reference as the released code read them: normalised in single precision, then widened."""
    with np.load(REFERENCE / "calibration_images.npz") as file:
        pixels = torch.from_numpy(file["images"][:count]).float() / 255
    mean, deviation = (torch.tensor(one, dtype=torch.float32) for one in (preprocessing.mean, preprocessing.std))
    return ((pixels - mean) / deviation).permute(0, 3, 1, 2).contiguous().double()


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def deit_tiny(double_precision):
    """The network and four images in double precision.

    One value that is rounded the other way moves all later ranges, so in single precision the released code is as far from
    its own result in double precision as from ours. Gains of LayerNorms that these weights have rounded to zero are 1/128,
    since the released code cannot divide by the range of a constant channel.
    """
    loaded = load_model("deit_tiny_patch16_224.fb_in1k", DEIT)
    for name, parameter in loaded.network.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data[parameter == 0] = 2.0**-7
    preprocessing = of_model(loaded.network, {})
    model = quantizable(loaded.network.double(), preprocessing.input_size, loaded.name)
    return model, reference_images(preprocessing, 4)


@requires_reference
def test_repqvit_quantizes_deit_tiny_like_the_released_code(deit_tiny, context):
    """Whole network at w4a4, calibrated on two images, logits of two others."""
    expected, (model, images) = released("repqvit_deit_tiny"), deit_tiny
    apply(model, CalibrationSet(images[:2]), context)
    for key, theirs in expected.items():
        name, _, part = key.rpartition("/")
        if part in ("gain", "offset"):
            ours = model.replaced_norms[name][part == "offset"]
            assert torch.allclose(ours.float().flatten(), theirs, rtol=1e-5, atol=1e-6), key
        elif name:
            ours = model.quantizers[name].scale if part == "scale" else model.quantizers[name].zero_point
            assert share_equal(ours, theirs) == 1, key
    assert torch.allclose(model(images[2:]).float(), expected["logits"], rtol=1e-4, atol=1e-5)


@nightly
@requires_reference
def test_erq_rounds_deit_tiny_like_the_released_code(deit_tiny, context):
    """Whole network at w4a4 without the dual quantizer: ranges of three blocks and the classifier, codes of some rows."""
    expected, (model, images) = released("erq_deit_tiny"), deit_tiny
    apply(model, CalibrationSet(images), context, "repqvit(inputs=activations,image=full)+erq")
    for key, theirs in expected.items():
        name, _, part = key.rpartition("/")
        quantizer = model.quantizers[name]
        if part == "scale":
            assert share_equal(quantizer.scale, theirs) == 1, key
        else:
            steps = model.rounded_weights[name][::64] / quantizer.scale[::64, None]
            assert torch.equal((steps + quantizer.zero_point[::64, None]).round().to(torch.uint8), theirs), key


def test_ptq4vit_takes_the_scales_of_the_released_code(model, calibration, context):
    """Every search of the first layer, a block and the classifier, on equal inputs and gradients; w6a6, four images."""
    expected, images = released("ptq4vit"), calibration.images[:4]
    made = context("w6a6")
    settings = layer_search.LayerSearchSettings(
        0.01, 1.2, 100, 3, "hessian", "random", False, "released", 4, Placement("operands", image=False)
    )
    searcher, logits = layer_search._Searcher(model, settings, made), model.full_precision(images)
    searched = {0, model.segment_of(f"{BLOCK}.attn.qkv.weight"), len(model.segments) - 1}
    with torch.no_grad():
        for visit in walk(model, images, made, batch=len(images), full=True, quantized=False):
            gradients = searcher.gradients(visit, logits)
            if visit.index in searched:
                seen = searcher.seen(visit)
                for name, operation in operations_of(visit.segment.module).items():
                    searcher.search(operation, searcher.operands(visit, name, seen[name], gradients[name]))
    for key, theirs in expected.items():
        site, _, part = key.rpartition("/")
        ours = model.quantizers[site].scale
        if "qkv.weight" in site:
            ours = ours.reshape(3, -1)[:, 0]
        elif part in ("a", "fine"):  # GELU's positive steps are the second scale, the softmax's fine ones the first
            ours = ours[-1:] if part == "a" else ours[:1]
        assert share_equal(ours, theirs) >= 0.95, key


class Isolated:
    """One operation outside a network, for AdaLog's search at w4a4."""

    def __init__(self, weight=None, bias=None, *, operand=Kind.LINEAR, function=""):
        runtime = Runtime()
        self.quantizers = runtime.edits.quantizers
        if weight is None:
            operands = {"m[a]": operand, "m[b]": Kind.LINEAR}
            self.operation = MatMul(runtime, (Read("m[a]"), Read("m[b]")), torch.matmul)
        else:
            operands = {"w[x]": operand}
            about = self.site("w", Kind.LINEAR, Place.PARAMETER, "")
            self.operation = WeightedOperation(runtime, about, Read("w[x]"), "n", torch.nn.functional.linear, weight, bias)
        self.weights = {} if weight is None else {"w": self.operation}
        self.sites = {name: self.site(name, kind, Place.OPERAND, function) for name, kind in operands.items()}

    @staticmethod
    def site(name, kind, place, function):
        return Site(name, kind, place, name, name, "", -1, 1, 1, function=function)

    def search(self, **operands):
        rule = Installing(
            SearchEffort(128, 16, 6), "middle", 3, logarithms=True, placement=Placement("operands", image=False)
        )
        read = {f"{name[0]}[{name[1]}]": [values] for name, values in operands.items()}
        with torch.no_grad():
            OperationSearch(self, self.operation, read, Bits.parse("w4a4"), rule).run()
        return self.quantizers


@pytest.mark.parametrize("function", ["", "gelu"])
def test_adalog_takes_the_quantizers_of_the_released_linear_operations(function):
    data = {key.partition("_")[2]: one for key, one in released("adalog").items() if key.startswith(function or "linear")}
    found = Isolated(data["w"], data["b"], function=function).search(wx=data["x"])
    assert share_equal(found["w"].scale, data["weight_scale"]) >= 0.9
    assert share_equal(found["w"].zero_point, data["weight_zero"]) >= 0.9
    assert share_equal(found["w[x]"].scale[:1], data["scale"]) == 1
    other = found["w[x]"].scale[1:2] if function else found["w[x]"].zero_point
    assert share_equal(other, data["other"]) == 1


@pytest.mark.parametrize("kind", ["matmul", "softmax"])
def test_adalog_takes_the_quantizers_of_the_released_products(kind):
    data = {key.partition("_")[2]: one for key, one in released("adalog").items() if key.startswith(kind)}
    found = Isolated(operand=Kind.SOFTMAX if kind == "softmax" else Kind.LINEAR).search(ma=data["a"], mb=data["b"])
    first = found["m[a]"].scale[1:2] if kind == "softmax" else found["m[a]"].scale
    assert share_equal(first, data["a_first"]) == 1
    assert share_equal(found["m[b]"].scale, data["b_scale"]) == 1
    assert share_equal(found["m[b]"].zero_point, data["b_zero"]) == 1


def test_erq_solves_and_rounds_like_the_released_code():
    """Both steps of a linear operation at w3a4 with a ridge of ten."""
    data = released("erq")
    x, weight, bias = data["x"].flatten(0, 1), data["w"], data["b"]
    moments = Moments.of([(x, data["y"].flatten(0, 1))])
    present = torch.cat([weight, bias[:, None]], dim=1).double()
    present = present + ridge_update(moments, present, 10.0)
    first = torch.cat([data["first_w"], data["first_b"][:, None]], dim=1)
    assert (present - first).abs().max() < 1e-4 * first.abs().max()
    ranges = percentile_search(present[:, :-1].float(), 3, erq.FRACTIONS)
    quantizer = from_free_range(AffineSpec(3, axis=0), *ranges)
    assert share_equal(quantizer.scale, data["scale"]) == 1
    rounded, shifted = round_halves(present, quantizer, moments, 10.0, "released", 100)
    codes = (quantizer.quantize(rounded.float()) / quantizer.scale[:, None]).round()
    assert float((codes == data["codes"]).float().mean()) > 0.99
    assert (shifted - data["bias"]).abs().max() < 1e-3 * data["bias"].abs().max()


def test_brecq_learns_the_roundings_of_the_released_code():
    """300 steps of Adam on one layer, all rows at each step, so that the order of images does not matter."""
    data = released("learning")
    x, weight, bias, target = (data[f"brecq_{part}"] for part in ("x", "w", "b", "y"))
    spec, ends = AffineSpec(3, axis=0), (weight.amin(1), weight.amax(1))
    rounding = SoftRounding(weight, Uniform.of(spec, data["brecq_scale"], data["brecq_zero"], *ends))
    steps = 300
    unit = Unit(
        "layer",
        lambda rows: x[rows] @ rounding.soft().T + bias,
        Kept([target]),
        mse,
        torch.Generator().manual_seed(1),
        steps,
        {"weight": rounding},
    )
    losses = learn(unit, ReconstructionConfig(batch=len(x), iterations=steps), Task())
    assert losses == pytest.approx(data["brecq_loss"].tolist(), rel=1e-3)
    theirs = data["brecq_alpha"]
    assert float(((rounding.variable >= 0) == (theirs >= 0)).float().mean()) > 0.99
    assert (rounding.variable.detach() - theirs).abs().max() < 1e-3, "steps count from one"


def test_the_loss_of_fimaq_is_the_released_one():
    """15 batches with three renewals."""
    data = released("learning")
    pairs = iter(zip(data["fima_gain"], data["fima_move"], strict=True))
    loss = Fima(lambda: next(pairs), rank=3, every=5)
    for output, target, expected in zip(data["fima_out"], data["fima_target"], data["fima_loss"], strict=True):
        assert float(loss(output, target, None)) == pytest.approx(float(expected), rel=1e-3)


def test_the_files_are_small_and_hold_numbers_only():
    files = list(DATA.glob("*.npz"))
    assert {file.stem for file in files} == {
        "repqvit",
        "repqvit_deit_tiny",
        "ptq4vit",
        "adalog",
        "columns",
        "erq",
        "erq_deit_tiny",
        "learning",
    }
    assert sum(file.stat().st_size for file in files) < 2_000_000
    for file in files:
        assert all(array.dtype.kind in "fiu" for array in released(file.stem).values() for array in [array.numpy()])
