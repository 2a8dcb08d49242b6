"""What quantizing a site costs: against whole runs, finite differences, closed forms, and values made for a reason."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.engines.diagnosis import diagnose
from harness.engines.fisher import differentiable, fisher, predicted_loss, traces
from harness.engines.held_out import sqnr_db
from harness.engines.reasons import facts_of
from harness.engines.sensitivity import Sensitivity, holding
from harness.errors import IncompatibleError
from harness.graph.operations import Kind
from harness.graph.sites import Place, Site
from harness.machine.memory import Budget
from harness.machine.progress import Progress, Task
from harness.method.stack import check
from harness.quant.format.affine import AffineSpec
from harness.quant.format.uniform import from_range
from harness.quant.network.qmodel import quantizable
from harness.run.held_out import fitted
from harness.testing.applying import outcome
from harness.trial.spec import TrialSpec
from tests.lanes import nightly
from tests.shared import IMAGES, WEIGHTS

pytestmark = pytest.mark.slow
SOME = [
    "input",
    "patch_embed.proj.weight",
    "blocks.1.attn:softmax",
    "blocks.2:add",
    "blocks.3.mlp.fc1.weight",
    "head:linear",
]


@pytest.fixture
def quantized(model, calibration):
    outcome(check("minmax"), model, calibration, "w4a4")
    return model


def test_one_in_and_one_out_are_those_of_whole_runs_at_half_the_cost(quantized, calibration):
    images, formats = calibration.images[:6], dict(quantized.quantizers)
    measure = Sensitivity(quantized, images, Budget(), batch=4)
    before = quantized.image_forwards
    alone, without = measure.leave_one_in(Task()), measure.leave_one_out(Task())
    passes = (quantized.image_forwards - before) / len(images)
    assert list(alone) == list(without) == [name for name in quantized.sites if name in formats]
    assert passes < 1.2 * len(formats), "a whole run for each would be twice the number of quantizers"
    assert dict(quantized.quantizers) == formats
    for name in (name for name in SOME if name in formats):
        assert alone[name] == measure.whole({name: formats[name]})
        assert without[name] == measure.whole({other: one for other, one in formats.items() if other != name})
    assert measure.group_in(formats) == measure.whole(formats)
    assert measure.group_out(formats).sqnr_db > 100


@pytest.mark.parametrize("stack", ["fqvit+biascorr(form=empirical,batch=4)", "repqvit+qwt(batch=4)"])
def test_no_correction_acts_beside_a_quantizer_alone(model, calibration, stack):
    """A bias that makes up for errors of other quantizers is an error where these do not act."""
    outcome(check(stack), model, calibration, "w4a4")
    images, logits = calibration.images[:4], model(calibration.images[:4])
    measure = Sensitivity(model, images, Budget())
    assert measure.whole({}).sqnr_db < 60
    assert measure.group_in([]).sqnr_db > 100
    some = next(name for name in model.weights if name in model.quantizers)
    assert measure.group_in([some]).sqnr_db == measure.leave_one_in(Task())[some].sqnr_db
    assert torch.equal(model(images), logits)


def test_the_error_adds_up_over_segments(quantized, calibration):
    images = calibration.images[:6]
    blocks = Sensitivity(quantized, images, Budget()).accumulation()
    assert [one.segment for one in blocks] == [segment.name for segment in quantized.segments]
    assert blocks[0].accumulated == blocks[0].own
    assert blocks[-1].accumulated == pytest.approx(sqnr_db([quantized(images)], [quantized.full_precision(images)]))
    assert blocks[3].accumulated < blocks[3].own


@pytest.mark.parametrize("name", ["blocks.2:add", "blocks.1.attn.qkv.weight", "pos_embed", "input"])
def test_fisher_is_the_squared_change_along_the_error(quantized, calibration, name):
    image, quantizer = calibration.images[:1], quantized.quantizers[name]
    information = fisher(quantized, image, {name: [quantizer, quantizer]}, Task())[name]
    tiny = 1e-2

    class Small:  # a hundredth of the error: the loss is a line there
        def __init__(self, sign):
            self.sign = sign

        def __call__(self, x, **_):
            return x + self.sign * tiny * (quantizer(x) - x)

    def loss(sign):
        with torch.no_grad(), holding(quantized, {}):
            if quantized.sites[name].place is Place.PARAMETER:
                weight = quantized.weights[name].weight
                with quantized.learning({name: Small(sign)(weight)}):
                    logits = quantized.run(image)
            else:
                quantized.quantizers[name] = Small(sign)
                logits = quantized.run(image)
        return F.cross_entropy(logits.double(), quantized.full_precision(image).argmax(1))

    slope = float(loss(1) - loss(-1)) / (2 * tiny)
    assert information[0] == information[1] == pytest.approx(slope**2 / 2, rel=0.1, abs=1e-12)


def test_gradients_leave_nothing_behind(quantized, calibration):
    with differentiable(quantized, calibration.images[:1]) as (values, logits):
        predicted_loss(logits).backward()
        assert all(values[name].grad is not None for name in SOME)
    buffers = [buffer for segment in quantized.segments for buffer in segment.module.buffers()]
    assert not any(buffer.requires_grad or buffer.grad is not None for buffer in buffers)
    assert quantized.chain.runtime.observe is None


class Skipping(nn.Module):
    """A convolution beside a skip connection: both read the same value."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        y = torch.relu(self.a(x))
        return self.head((y + self.b(y)).mean((2, 3)))


def test_an_operand_has_the_gradient_of_its_own_reader():
    network, image = Skipping().eval(), torch.randn(1, 3, 8, 8)
    model = quantizable(network, (3, 8, 8), "skipping")
    with differentiable(model, image) as (values, logits):
        predicted_loss(logits).backward()
        found = values["b:conv[x]"].grad
    y = torch.relu(network.a(image))
    read = y.detach().requires_grad_()
    predicted_loss(network.head((y.detach() + network.b(read)).mean((2, 3)))).backward()
    torch.testing.assert_close(found, read.grad)


def test_the_trace_of_a_classifiers_hessian(quantized, calibration):
    images, name = calibration.images, "head.weight"
    signs = torch.Generator().manual_seed(0)
    repeated = images.repeat(20, 1, 1, 1)
    found = traces(
        quantized, repeated, [name], lambda x: torch.randint(0, 2, x.shape, generator=signs).float() * 2 - 1, Task()
    )
    read = []
    with holding(quantized, {}):
        logits = quantized.observe(images, lambda site, x: read.append(x.clone()) if site == "head:linear[x]" else None)
    chances = logits.softmax(1)
    exact = (read[0].square().sum(1) * (chances - chances.square()).sum(1)).mean() / quantized.weights[name].weight.numel()
    assert found[name] == pytest.approx(float(exact), rel=0.3)


SITE = Site("blocks.0:add", Kind.ADD, Place.VALUE, "n", "n", "blocks.0", axis=2, channels=16, elements=320)


def facts(x, low=None, high=None):
    low, high = (x.min() if low is None else low), (x.max() if high is None else high)
    ends = (torch.as_tensor([float(low)]), torch.as_tensor([float(high)]))
    return facts_of(SITE, from_range(AffineSpec(8), *ends), x)


def test_an_outlier_channel_is_found():
    x = torch.randn(8, 20, 16, generator=torch.Generator().manual_seed(1)) * 0.1
    x[..., 5] = 30 + x[..., 5]
    found = facts(x)
    assert found.token_codes == 5
    assert (found.energy_channels, found.channels) == (1, 16)
    assert found.outer_values == 160
    assert found.coarseness == pytest.approx(30.3 / 255 / 0.1, rel=0.1)
    assert any("one of 16 channels holds 100 % of the energy" in one for one in found.words)
    assert any("the step is 1." in one for one in found.words)
    assert found.unused > 200
    assert any(f"{found.unused} of 256 codes unused" in one for one in found.words)


def test_a_range_set_by_two_values_and_tokens_with_equal_codes():
    x = torch.rand(10, 40, 16, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0] = x[1, 1, 1] = 4.0
    x[2, :4] = 0.25
    found = facts(x, 0.0, 4.0)
    assert found.outer_values == 2
    assert "the outer half of the range is there for 2 of 6,400 values" in found.words
    assert found.equal_tokens == pytest.approx(4 / 400)
    assert "1.0 % of the tokens have equal codes" in found.words


def test_nothing_stands_out_where_nothing_does():
    assert facts(torch.rand(10, 40, 16, generator=torch.Generator().manual_seed(1))).words == []


def test_a_diagnosis_names_the_class_that_was_harmed(quantized, calibration):
    for name, site in quantized.sites.items():
        if site.residual:
            quantizer = quantized.quantizers[name]
            quantized.quantizers[name] = from_range(AffineSpec(3), quantizer.minimum * 3, quantizer.maximum * 3)
    found = diagnose(quantized, calibration.images[:4], Budget(), Progress(), worst=4)
    assert found.verdict().startswith("the problem is residual sums: without their 13 quantizers")
    assert found.classes[0].tensors == "residual sums"
    assert len(found.worst) == 4
    assert set(found.worst) <= set(quantized.quantizers)
    assert sum(found.forward_passes.values()) > len(found.sites)


def test_a_diagnosis_says_when_leaving_a_class_out_gives_nothing(quantized, calibration):
    found = diagnose(quantized, calibration.images[:2], Budget(), Progress(), worst=1)
    worse = [replace(one, gain_db=-1.0 - number) for number, one in enumerate(found.classes)]
    assert "is the problem: leaving one out gives -1.0 dB at best" in replace(found, classes=worse).verdict()
    assert replace(found, classes=worse).verdict().startswith("no class of tensors")


def test_facts_of_a_weight_are_those_of_the_codes_it_has(model, calibration):
    """GPTQ rounds by itself: the nearest codes are not the ones in use."""
    outcome(check("minmax+gptq(batch=4)"), model, calibration, "w3a8")
    found = diagnose(model, calibration.images[:2], Budget(), Progress(), worst=200)
    weights = [name for name in found.worst if name in model.rounded_weights]
    assert weights
    for name in weights:
        used, wanted = model.weights[name].quantized_weight(), model.weights[name].present_weight
        assert found.worst[name].sqnr_db == pytest.approx(sqnr_db([used], [wanted]))


def test_nothing_to_diagnose(model, calibration):
    with pytest.raises(IncompatibleError, match="nothing of it is quantized"):
        diagnose(model, calibration.images[:2], Budget(), Progress())


VIT = WEIGHTS / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors"


@nightly
@pytest.mark.skipif(not (VIT.is_file() and IMAGES.is_dir()), reason="no weights and images beside the checkout")
def test_residual_sums_are_the_problem_of_vit_tiny_under_fqvit():
    spec = TrialSpec("fqvit", model="vit_tiny_patch16_224", weights=VIT, data=str(IMAGES), calib=40)
    network = fitted(spec, 8, Progress())
    found = diagnose(network.model, network.held, network.budget, Progress())
    assert found.verdict().startswith("the problem is residual sums: without their ")
    assert found.classes[0].gain_db > found.classes[1].gain_db + 1
    worst = [one for one in found.worst if network.model.sites[one].residual]
    assert worst
    assert any(found.worst[one].words for one in worst)
