"""Number formats: what each must keep to, and that formats of other packages survive state files and prefix reuse."""

import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import FormatError, IncompatibleError
from harness.method.stack import check
from harness.quant.format import (
    AdaptiveLog,
    LogIntSoftmax,
    LogSqrt2,
    NumberFormat,
    PowerOfTwo,
    Requantized,
    RoundedFirst,
    ShiftUniformLog2,
    Split,
    TwinGelu,
    TwinSoftmax,
    Uniform,
    number_format,
)
from harness.quant.format.affine import AffineSpec
from harness.quant.format.registration import number_formats, read, written
from harness.quant.format.uniform import from_range
from harness.quant.network.inventory import coverage, off_grid_sites, size_bytes
from harness.quant.network.state import load_state, save_state, state_of
from harness.run.run_trial import run_trial
from harness.store.store import Store
from harness.trial.spec import TrialSpec

TWICE = "power_of_two_requantized"  # two roundings one after the other: not idempotent
ZERO, ONE = torch.zeros(1), torch.ones(1)
BITS = st.integers(2, 8)

# A calibrated example of each built-in format, and the values it is meant for: (bits, a number in 0..1) -> format.
EXAMPLES = {
    "uniform": lambda bits, part: from_range(AffineSpec(bits), ZERO - 2 * part, ONE),
    "rounded_first": lambda bits, part: RoundedFirst.of(
        AffineSpec(bits, fractional=True), ONE / 2**bits, ONE * (2 ** (bits - 1) + part - 0.5), -ONE, ONE
    ),
    "power_of_two": lambda bits, part: PowerOfTwo.of(
        AffineSpec(bits, axis=1), torch.tensor([0.01, 0.02, 0.08]) * (0.5 + part), ONE, ZERO, ONE
    ),
    "power_of_two_requantized": lambda bits, part: Requantized.both(
        EXAMPLES["power_of_two"](bits, part), from_range(AffineSpec(bits), ZERO - 2 * part, ONE)
    ),
    "log_int_softmax": lambda bits, part: LogIntSoftmax.on(torch.device("cpu"), bits),
    "log_sqrt2": lambda bits, part: LogSqrt2(bits, ONE * (0.3 + part), ZERO, ONE),
    "twin_softmax": lambda bits, part: TwinSoftmax(
        bits, torch.tensor([2.0 ** -int(6 * part), 1.0]) / 2 ** (bits - 1), ZERO, ONE
    ),
    "twin_gelu": lambda bits, part: TwinGelu(bits, torch.tensor([0.17, 0.5 + part]) / 2 ** (bits - 1), -ONE, ONE),
    "shift_uniform_log2": lambda bits, part: ShiftUniformLog2.on(
        torch.linspace(0, 0.2 + part, 50), bits, 0.01 + part / 10, released=part > 0.5
    ),
    "split": lambda bits, part: Split(
        bits,
        ONE * (2 + part) / 2**bits,
        zero_point=ZERO,
        minimum=-ONE,
        maximum=ONE,
        columns=torch.tensor([0, 1, 2, 2]),
        shares=torch.tensor([1, 1, 0.5, 0.5]),
        offsets=torch.tensor([0, 0, -0.25, 0.25]),
        low=-(2 ** (bits - 1)),
        high=2 ** (bits - 1) - 1,
        grown=1,
    ),
    # A coarse table or a base near one puts neighbouring powers closer together than the table's own rounding.
    "adaptive_log": lambda bits, part: AdaptiveLog(4, torch.tensor([1.0, 25 + int(20 * part), 0.1]), ZERO, ONE),
}


def test_every_built_in_format_has_an_example():
    assert {name for name, cls in number_formats().items() if cls.__module__.startswith("harness.")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
@given(bits=BITS, part=st.floats(0, 1), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_defining_properties(name, bits, part, seed):
    quantizer = EXAMPLES[name](bits, part)
    assert type(quantizer).name == name
    x = torch.rand(200, 3, generator=torch.Generator().manual_seed(seed))
    x = x if "softmax" in name or "log" in name else 3 * x - 1.5
    before = x.clone()
    once, codes = quantizer.quantize(x), quantizer.codes(x)
    assert torch.equal(x, before), "the input is not written to"
    assert once.shape == codes.shape == x.shape
    if name not in (TWICE, "rounded_first"):  # the ends of the latter are fractions of a step
        assert torch.equal(quantizer.quantize(once), once), "idempotent"
    assert codes.dtype == torch.int32
    for channel in range(3):  # equal codes are equal values, so there are no more values than codes
        pairs = torch.stack([codes[:, channel].double(), once[:, channel].double()]).unique(dim=1)
        assert len(pairs[0].unique()) == pairs.shape[1] <= quantizer.levels
    assert quantizer.levels <= (2 if name == "split" else 1) * 2**quantizer.bits + 1  # sums of two codes
    assert int(codes.max()) - int(codes.min()) < quantizer.levels
    assert torch.equal(quantizer(x), once)
    kept = torch.rand(x.shape) < 0.5
    assert torch.equal(quantizer(x, kept=kept), torch.where(kept, x, once))
    assert torch.equal(quantizer(x, overwrite=True), once)


@pytest.mark.parametrize("name", EXAMPLES)
def test_state_round_trip(name):
    quantizer = EXAMPLES[name](4, 0.5)
    tensors, facts = written(quantizer)
    assert facts["scheme"] == name
    second = {"second_scale", "second_zero_point"} if name == TWICE else set()
    second |= {"columns", "shares", "offsets"} if name == "split" else set()
    assert set(tensors) - second == {"scale", "zero_point", "minimum", "maximum"}, "state files have had them from the first"
    own = {"low", "high", "grown"} if name == "split" else {"signed", "symmetric", "narrow_range", "fractional"}
    assert set(facts) - {"summed", "released"} == {"bits", "axis", "scheme", "correction", *own}
    again = read(tensors, facts)
    assert type(again) is type(quantizer)
    x = torch.rand(50, 3)
    assert torch.equal(again(x), quantizer(x))
    assert (again.scales, again.zero_points) == (quantizer.scales, quantizer.zero_points)


@pytest.mark.parametrize("name", EXAMPLES)
def test_gradients_pass_rounding_except_where_elements_stay(name):
    quantizer = EXAMPLES[name](8, 0.5)
    x = (0.2 + 0.5 * torch.rand(40, 3)).requires_grad_(True)
    kept = torch.rand(x.shape) < 0.3
    y = quantizer(x, kept=kept)
    assert torch.allclose(y.detach(), torch.where(kept, x, quantizer.quantize(x.detach())))
    y.sum().backward()
    assert torch.equal(x.grad[kept], torch.ones_like(x.grad[kept]))
    assert x.grad.mean() > 0.5


# A package of somebody else: a companding format and a scheme that installs it.
PLUG = '''
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.graph.sites import Place
from harness.method.base import Method
from harness.method.registration import Role, register
from harness.quant.calibrate.installation import install_weight_ranges
from harness.quant.format import NumberFormat, number_format


@number_format("mu_law")
@dataclass(frozen=True)
class MuLaw(NumberFormat):
    """Steps that grow with the magnitude (ITU-T G.711's curve); the scale (1,) is the largest magnitude."""

    mu: float = 255.0

    def codes(self, x: Tensor) -> Tensor:
        compressed = torch.log1p(self.mu * (x / self.scale).abs().clamp_max(1)) / torch.log1p(torch.tensor(self.mu))
        return (x.sign() * compressed * (2 ** (self.bits - 1) - 1)).round().to(torch.int32)

    def quantize(self, x: Tensor) -> Tensor:
        position = self.codes(x) / (2 ** (self.bits - 1) - 1)
        return position.sign() * self.scale * torch.expm1(position.abs() * torch.log1p(torch.tensor(self.mu))) / self.mu


@dataclass(frozen=True)
class Config:
    pass


@register("{method}", role=Role.SCHEME, provides=("scheme", "scales"), version=1, paper="none")
class Plug(Method[Config]):
    """Companded values, uniform weights."""

    Config = Config

    def apply(self, model, calibration, context):
        install_weight_ranges(model, context.bits.weight)
        names = [name for name, site in model.sites.items() if site.place is Place.VALUE and not site.fused]

        def watch(name, x):
            if name in names:
                model.quantizers[name] = MuLaw(context.bits.activation, x.abs().max().reshape(1), mu=100.0)

        model.observe(calibration.images, watch)
'''


@pytest.fixture
def plug(tmp_path, monkeypatch):
    """A distribution with the scheme ``plug``; its format is known as long as the test runs."""
    monkeypatch.setattr("harness.quant.format.registration._CLASSES", number_formats())
    monkeypatch.delitem(sys.modules, "plug_formats", raising=False)
    (tmp_path / "plug_formats.py").write_text(PLUG.replace("{method}", "plug"))
    info = tmp_path / "plug_formats-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_formats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.methods]\nplug = plug_formats:Plug\n")
    monkeypatch.syspath_prepend(tmp_path)


def outcome(spec, store, share):
    record, _ = run_trial(spec, store, share=share, force=not share)
    assert record["status"] == "done", record.get("error")
    state = (store.folder(record["id"]) / "quantizers.safetensors").read_bytes()
    facts = {name: record[name] for name in ("id", "metrics", "coverage", "size_bytes")}
    reused = ["reused" in stage["notes"] for stage in record["stages"]]
    return state, facts | {"off_grid_sites": sorted(record["off_grid_sites"])}, reused


def test_a_format_of_another_package_survives_prefix_reuse(plug, tmp_path):
    spec = TrialSpec("plug+biascorr(form=empirical,batch=8)", bits="w4a6", calib=8, eval_limit=50)
    alone, facts, reused = outcome(spec, Store(tmp_path / "alone"), share=False)
    assert not any(reused)
    shared = Store(tmp_path / "shared")
    run_trial(TrialSpec("plug", bits="w4a6", calib=8, eval_limit=50), shared)
    with_prefix, same, reused = outcome(spec, shared, share=True)
    assert any(reused), "the first step came from the store"
    assert with_prefix == alone
    assert same == facts
    assert {kind for row in facts["coverage"] for kind in row["granularity"]} == {"channel", "mu_law"}
    assert "blocks.0.attn:softmax" in facts["off_grid_sites"]


def test_searches_over_scales_move_a_scale_of_another_package(plug, model, calibration, context):
    made = context("w4a6")
    scheme, search = check("plug+gradopt(passes=1,steps=1,scope=block)").steps
    scheme.method.apply(model, calibration, made)
    before = model.quantizers["blocks.0.attn:softmax"]
    search.method.apply(model, calibration, made)
    after = model.quantizers["blocks.0.attn:softmax"]
    assert type(after) is type(before)
    assert after.mu == before.mu


def test_methods_that_need_neighbouring_codes_say_so(plug, model, calibration, context):
    check("plug").steps[0].method.apply(model, calibration, context("w4a6"))
    companded = model.quantizers["blocks.0.attn:softmax"]
    name = next(name for name in model.weights if "blocks.0" in name)
    model.quantizers[name] = companded
    with pytest.raises(IncompatibleError, match=rf"gptq works on Affine number formats, {name} has MuLaw"):
        check("plug+gptq").steps[1].method.apply(model, calibration, context("w4a6"))


def test_a_search_by_gradients_names_a_format_whose_scale_has_none(plug, model, calibration, context):
    check("plug").steps[0].method.apply(model, calibration, context("w4a6"))
    companded = model.quantizers["blocks.0.attn:softmax"]
    for name in model.weights:
        model.quantizers[name] = companded
    with pytest.raises(IncompatibleError, match=r"'mu_law' in blocks\.0\.attn gives none \(leave gradopt out") as caught:
        check("plug+gradopt(passes=1,steps=1)").steps[1].method.apply(model, calibration, context("w4a6"))
    assert caught.value.kind == "incompatible"


@dataclass(frozen=True)
class Halves(NumberFormat):
    """Not registered."""

    def quantize(self, x: Tensor) -> Tensor:
        return (2 * x).round() / 2

    def codes(self, x: Tensor) -> Tensor:
        return (2 * x).round().to(torch.int32)


@dataclass(frozen=True)
class Finer(Uniform):
    """Not registered, although the class it extends is."""

    finer: bool = True


@pytest.mark.parametrize("cls", [Halves, Finer])
def test_a_class_that_is_not_registered_is_refused_on_writing(cls, model, tmp_path):
    rest = (ZERO, ZERO, ONE) if cls is Finer else ()
    model.quantizers["blocks.0.attn:softmax"] = cls(4, ONE, *rest)
    with pytest.raises(FormatError, match=rf"test_formats:{cls.__name__} is not a registered number format.*@number_format"):
        save_state(model, tmp_path / "state.safetensors")
    assert not (tmp_path / "state.safetensors").exists()


def test_facts_that_json_does_not_keep_are_refused_on_writing(monkeypatch):
    monkeypatch.setattr("harness.quant.format.registration._CLASSES", number_formats())

    @number_format("odd")
    @dataclass(frozen=True)
    class Odd(Halves):
        table: tuple[int, ...] = (1, 2)

    with pytest.raises(FormatError, match=r"facts of number format 'odd'"):
        written(Odd(4, ONE))


def test_an_unknown_name_is_refused_on_reading(plug, model, calibration, context, tmp_path, monkeypatch):
    check("plug").steps[0].method.apply(model, calibration, context("w4a6"))
    before = state_of(model)[1]
    assert (size_bytes(model), len(off_grid_sites(model)), len(coverage(model))) > (0, 0, 0)
    save_state(model, tmp_path / "state.safetensors")
    load_state(model, tmp_path / "state.safetensors")
    assert state_of(model)[1] == before
    known = {name: cls for name, cls in number_formats().items() if name != "mu_law"}
    monkeypatch.setattr("harness.quant.format.registration._CLASSES", known)
    with pytest.raises(FormatError, match=r"unknown number format 'mu_law'.*install or import the package that defines it"):
        load_state(model, tmp_path / "state.safetensors")


def test_two_classes_under_one_name_are_both_named(monkeypatch):
    monkeypatch.setattr("harness.quant.format.registration._CLASSES", number_formats())
    with pytest.raises(FormatError, match=r"uniform:Uniform and .*test_formats:Halves"):
        number_format("uniform")(Halves)
    assert number_formats()["uniform"] is Uniform


def test_a_class_without_its_methods_is_refused():
    with pytest.raises(FormatError, match=r"'empty' .* does not define codes and quantize"):

        @number_format("empty")
        class Empty(NumberFormat):
            pass
