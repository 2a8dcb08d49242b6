"""What each placement quantizes, and with which codes, against written expectations: a transformer and a CNN."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from harness.data.sets import CalibrationSet
from harness.method.stack import check
from harness.quant.calibrate.placement import Placement, is_deployed
from harness.quant.network.qmodel import quantizable
from harness.testing.applying import apply
from harness.trial.bits import Bits

OBSERVERS = ("minmax", "ema", "percentile")


class Cnn(nn.Module):
    """A convolution, a block with a depthwise convolution, and a classifier; batch norms are folded."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)
        self.wide, self.depthwise = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.depthwise(torch.relu(self.wide(x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    return quantizable(Cnn().eval(), (3, 16, 16))


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    network = VisionTransformer(img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2, num_classes=3)
    return quantizable(network.eval(), (3, 16, 16))


@pytest.fixture
def images():
    return CalibrationSet(torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


VIT_READ = [
    "patch_embed.proj:conv[x]",
    "blocks.0.attn.qkv:linear[x]",
    "blocks.0.attn.proj:linear[x]",
    "blocks.0.mlp.fc1:linear[x]",
    "blocks.0.mlp.fc2:linear[x]",
    "head:linear[x]",
]
VIT_PRODUCTS = [f"blocks.0.attn:{product}" for product in ("matmul[a]", "matmul[b]", "matmul_1[a]", "matmul_1[b]")]
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
CNN_READ = ["stem:conv[x]", "wide:conv[x]", "depthwise:conv[x]", "fc:linear[x]"]
CNN_VALUES = [
    "input",
    "model:activation",
    "model:activation_1",
    "depthwise:conv",
    "model:activation_2",
    "model:mean",
    "fc:linear",
]


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement("values"), VIT_VALUES),
        (Placement("operands"), [*VIT_READ[:2], *VIT_PRODUCTS, *VIT_READ[2:]]),
        (Placement("deploy"), VIT_READ),
        (Placement("deploy", attention=True), [*VIT_READ[:2], *VIT_PRODUCTS, *VIT_READ[2:]]),
        (Placement("deploy", image=False), VIT_READ[1:]),
    ],
)
def test_sites_of_a_transformer(vit, placement, expected):
    assert [site.name for site in placement.among(vit)] == expected


@pytest.mark.parametrize(
    ("placement", "expected"),
    [(Placement("values"), CNN_VALUES), (Placement("operands"), CNN_READ), (Placement("deploy"), CNN_READ)],
)
def test_sites_of_a_cnn(cnn, placement, expected):
    assert [site.name for site in placement.among(cnn)] == expected


@pytest.mark.parametrize("network", ["vit", "cnn"])
@pytest.mark.parametrize("observer", OBSERVERS)
def test_deploy_installs_inputs_and_all_weights(request, images, network, observer):
    model, expected = request.getfixturevalue(network), {"vit": VIT_READ, "cnn": CNN_READ}[network]
    model.clear()
    apply(check(f"{observer}(sites=deploy)").steps, model, images, "w4a8")
    assert set(model.quantizers) == {*expected, *model.weights}
    assert is_deployed(model)
    for name in expected:
        one = model.quantizers[name]
        assert (one.bits, one.signed, one.axis, one.scale.numel()) == (8, False, None, 1)
        assert one.code_range == (0, 255)
        assert 0 <= one.zero_point.item() <= 255
    for name, operation in model.weights.items():
        one = model.quantizers[name]
        assert one.code_range == (-7, 7)
        assert one.axis == 0
        assert one.scale.numel() == len(operation.weight)
        assert not one.zero_point.any()


def test_weights_at_eight_bits_leave_out_the_most_negative_code():
    spec = Placement("deploy").weight_spec(8)
    assert (spec.code_range, spec.symmetric, spec.axis) == ((-127, 127), True, 0)
    assert Placement("values").weight_spec(8).code_range == (0, 255)
    assert Placement("operands").weight_spec(8, symmetric=True).code_range == (-128, 127)
    assert Placement("values").weight_spec(8, symmetric=True, narrow=True).code_range == (-127, 127)


def test_symmetric_activations_are_signed_down_to_the_code_at_which_runtimes_saturate(vit, images):
    vit.clear()
    apply(check("minmax(sites=deploy,activations=symmetric)").steps, vit, images)
    for name in VIT_READ:
        one = vit.quantizers[name]
        assert (one.code_range, one.symmetric, one.zero_point.item()) == ((-128, 127), True, 0)


def test_widths_of_the_image_and_of_probabilities(vit):
    bits, image = Bits.parse("w4a4s6"), vit.sites["patch_embed.proj:conv[x]"]
    probabilities = vit.sites["blocks.0.attn:matmul_1[a]"]
    for placement in (Placement("operands"), Placement("deploy", attention=True)):
        assert placement.width(image, bits) == 8
        assert placement.width(probabilities, bits) == 6
        assert placement.width(vit.sites["head:linear[x]"], bits) == 4
    assert Placement("values").width(vit.sites["input"], bits) == 4


def test_no_other_placement_is_taken_for_deploy(vit, images):
    for text in ("minmax", "minmax(sites=operands,weights=symmetric)", "fqvit(weights=symmetric,narrow_range=true)"):
        vit.clear()
        assert not is_deployed(vit), "nothing is quantized"
        apply(check(text).steps, vit, images)
        assert not is_deployed(vit), text
