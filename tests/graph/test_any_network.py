"""Networks with operations that nobody listed: they run as captured, and their values are sites of kind ``other``."""

from functools import partial

import pytest
import torch
from timm.layers import set_fused_attn
from timm.models.efficientformer_v2 import EfficientFormerV2
from timm.models.hiera import Hiera
from timm.models.mlp_mixer import Affine, MixerBlock, MlpMixer, ResBlock
from timm.models.mobilevit import MobileVitV2Block
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from torch import nn

from harness.data.sets import CalibrationSet
from harness.errors import CaptureError
from harness.graph.capture import capture
from harness.graph.operations import Kind, kind_of
from harness.graph.sites import Place
from harness.method.base import Context
from harness.method.stack import check
from harness.quant.network.operands import inner_norms
from harness.quant.network.qmodel import quantizable
from harness.trial.bits import Bits

STACKS = ("minmax", "fqvit", "repqvit", "minmax(sites=operands)")


def _mobilevit():
    block = MobileVitV2Block(8, 8, kernel_size=3, transformer_dim=8, transformer_depth=1, patch_size=2)
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def _mixer(layer, **settings):
    return MlpMixer(
        num_classes=5, img_size=32, patch_size=8, num_blocks=2, embed_dim=24, mlp_ratio=2.0, block_layer=layer, **settings
    )


NETWORKS = {
    "xcit": partial(
        Xcit, img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2, cls_attn_layers=1, num_classes=5, eta=1.0
    ),
    "hiera": partial(
        Hiera,
        img_size=(32, 32),
        embed_dim=8,
        stages=(1, 1),
        q_pool=1,
        mask_unit_size=(4, 4),
        mask_unit_attn=(True, False),
        num_classes=5,
    ),
    "resmlp": partial(_mixer, partial(ResBlock, init_values=0.5), norm_layer=Affine),
    "mobilevitv2": _mobilevit,
    "efficientformerv2": partial(
        EfficientFormerV2,
        depths=(1, 1, 1),
        img_size=64,
        embed_dims=(8, 8, 16),
        downsamples=(False, True, True),
        mlp_ratios=(2.0, 2.0, 2.0),
        num_vit=1,
        num_classes=5,
    ),
    "mixer": partial(_mixer, MixerBlock),
}
UNKNOWN = {
    "hiera": "amax",
    "resmlp": "addcmul",
    "mobilevitv2": "sum",
    "efficientformerv2": "upsample_bilinear2d",
}


def built(name):
    """With random weights, none of them constant."""
    set_fused_attn(False)
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.numel() > 1 and tensor.std() < 1e-6:
                tensor.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_that_were_refused_run_under_all_schemes(name):
    network, size = built(name), (3, 64, 64) if name == "efficientformerv2" else (3, 32, 32)
    images = torch.randn(4, *size)
    captured = capture(network, size)
    with torch.no_grad():
        expected = network(images)
        assert torch.equal(captured.module()(images)[0], expected)
    model = quantizable(network, size)
    assert (model(images) - expected).abs().max() <= 1e-4 * expected.abs().max()
    others = {site.function for site in model.sites.values() if site.kind is Kind.OTHER and site.place is Place.VALUE}
    assert UNKNOWN.get(name, "") in others | {""}
    for stack in STACKS:
        model.clear()
        for step in check(stack).steps:
            step.method.apply(model, CalibrationSet(images), Context(Bits.parse("w8a8")))
        logits = model(images)
        assert torch.isfinite(logits).all()
        assert not torch.equal(logits, expected)
        if stack in ("minmax", "fqvit"):
            values = [site.name for site in model.sites.values() if site.kind is Kind.OTHER and site.place is Place.VALUE]
            assert all(value in model.quantizers for value in values)


def test_norms_before_token_mixing_are_not_reparameterised():
    model = quantizable(built("mixer"), (3, 32, 32))
    read = {operation.operand for operations in inner_norms(model).values() for operation in operations}
    assert read == {"blocks.0.mlp_channels.fc1:linear[x]", "blocks.1.mlp_channels.fc1:linear[x]"}


class Inner(nn.Module):
    """The channels of several tokens side by side, as TNT's inner transformer gives them to the outer one."""

    def __init__(self):
        super().__init__()
        self.norm, self.merge, self.head = nn.LayerNorm(4), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.merge(self.norm(x.flatten(1).unflatten(1, (2, 4))).flatten(1)).relu())


def test_norms_whose_tokens_are_merged_are_not_reparameterised():
    assert inner_norms(quantizable(Inner().eval(), (1, 2, 4))) == {}


class Cumulative(nn.Module):
    """A running sum, which is no operation that anybody listed, between two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.second(torch.cumsum(self.first(x.flatten(1)), dim=1))


def test_an_unknown_operation_is_arithmetic_of_kind_other():
    network, images = Cumulative().eval(), torch.randn(5, 1, 2, 4)
    model = quantizable(network, (1, 2, 4))
    (site,) = [site for site in model.sites.values() if site.kind is Kind.OTHER and site.place is Place.VALUE]
    assert (site.name, site.function, site.channels, site.elements) == ("model:other", "cumsum", 6, 6)
    assert site.feeds == {Kind.LINEAR}
    assert model.sites["second:linear[x]"].kind is Kind.OTHER
    assert Kind.OTHER in model.sites["first:linear"].feeds
    with torch.no_grad():
        assert torch.equal(model.full_precision(images), network(images))
    check("minmax").steps[0].method.apply(model, CalibrationSet(images), Context(Bits.parse("w8a2")))
    seen = {}
    model.observe(images, seen.__setitem__, quantize=True)
    assert len(seen["second:linear[x]"].unique()) <= 4, "the values of two bits"


class Largest(nn.Module):
    """Pairs of tensors, indices and masks between layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 6), nn.Linear(3, 4)

    def forward(self, x):
        x = self.first(x.flatten(1))
        values, places = torch.topk(x, 3)
        return self.second(torch.where(places > 2, values, -values))


def test_pairs_indices_and_masks_run_and_only_values_are_sites():
    network, images = Largest().eval(), torch.randn(5, 1, 2, 4)
    model = quantizable(network, (1, 2, 4))
    found = [site.function for site in model.sites.values() if site.kind is Kind.OTHER and site.place is Place.VALUE]
    assert found == ["topk", "neg", "where"]
    with torch.no_grad():
        assert torch.equal(model.full_precision(images), network(images))


class Unfolding(nn.Module):
    """A view by an operation that nobody listed: quantizing it must not change what other readers see."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x.flatten(1))
        part = x.unfold(1, 8, 8).squeeze(1)
        return self.second(part + x)


def test_quantizing_a_view_leaves_what_it_looks_at():
    network, images = Unfolding().eval(), torch.randn(5, 1, 2, 4)
    model = quantizable(network, (1, 2, 4))
    (view,) = [name for name, site in model.sites.items() if site.kind is Kind.OTHER and site.place is Place.VALUE]
    check("minmax").steps[0].method.apply(model, CalibrationSet(images), Context(Bits.parse("w8a2")))
    for name in list(model.quantizers):
        if name != view:
            del model.quantizers[name]
    with torch.no_grad():
        x = network.first(images.flatten(1))
        expected = network.second(model.quantizers[view](x.clone()) + x)
    assert torch.allclose(model(images), expected, atol=1e-6)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = x.flatten(1)
        return self.layer(x + torch.randn_like(x))


class Writing(nn.Module):
    """Parts of a tensor are written, then all of it is read."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x.flatten(1)).unflatten(1, (2, 2))
        x[:, 1:, :1] = x[:, 1:, 1:] + 1
        x[:, 0].mul_(2)
        return self.layer(x.flatten(1)) + x.flatten(1)


class Overlapping(nn.Module):
    """A part of a tensor is written, then read through another view."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x.flatten(1))
        other = x.reshape(-1, 2, 2)
        x[:, :2].mul_(2)
        return self.layer(other.flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.layer = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, x):
        return self.layer(self.lstm(x[:, 0])[0].mean(1))


def test_an_lstm_in_evaluation_draws_nothing():
    network, images = Recurrent().eval(), torch.randn(5, 1, 3, 4)
    model = quantizable(network, (1, 3, 4))
    assert [site.function for site in model.sites.values() if site.kind is Kind.OTHER] == ["lstm"]
    with torch.no_grad():
        assert torch.equal(model.full_precision(images), network(images))


def test_written_parts_of_a_tensor_are_followed():
    network, images = Writing().eval(), torch.randn(5, 1, 2, 2)
    with torch.no_grad():
        assert torch.equal(quantizable(network, (1, 2, 2)).full_precision(images), network(images))


class Clamping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x.flatten(1))
        return self.layer(x.clamp_(-0.1, 0.1)) + x


def test_what_cannot_run_as_captured_is_refused_before_any_work():
    with pytest.raises(CaptureError, match=r"operation aten\.randn_like\.default .* draws random numbers"):
        quantizable(Noisy(), (1, 2, 2))
    with pytest.raises(
        CaptureError, match=r"operation aten\.mul_\.Tensor .* changes a tensor in place that is read elsewhere"
    ):
        quantizable(Overlapping(), (1, 2, 2))


def test_unknown_in_place_operations_are_followed():
    network, images = Clamping().eval(), torch.randn(3, 1, 2, 2)
    with torch.no_grad():
        assert torch.equal(quantizable(network, (1, 2, 2)).full_precision(images), network(images))


class Creating(nn.Module):
    """A tensor of zeros for every image, on the device of the images."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 6), nn.Linear(8, 4)

    def forward(self, x):
        zeros = torch.zeros(x.shape[0], 2, device=x.device)
        return self.second(torch.cat([self.first(x.flatten(1)), zeros], dim=1))


def test_tensors_are_created_where_the_network_runs():
    model = quantizable(Creating().eval(), (1, 2, 4)).to("meta")
    assert model.run_full_precision(torch.zeros(3, 1, 2, 4, device="meta")).device.type == "meta"


class Guarded(nn.Module):
    """A region without mixed precision, one without gradients, and one in the other."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = self.first(x.flatten(1))
            with torch.no_grad():
                mean, spread = x.mean(1, keepdim=True), x.abs().amax(1, keepdim=True)
            x = (x - mean) / spread
        return self.second(x)


class Mixed(Guarded):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = self.first(x.flatten(1))
        return self.second(x.float())


def test_regions_without_mixed_precision_or_gradients_are_written_out():
    network, images = Guarded().eval(), torch.randn(3, 1, 2, 4)
    model = quantizable(network, (1, 2, 4))
    assert {"first.weight", "second.weight"} == set(model.weights)
    with torch.no_grad():
        assert torch.equal(model.full_precision(images), network(images))
    with pytest.raises(CaptureError, match="mixed precision"):
        quantizable(Mixed(), (1, 2, 4))


class Plain(nn.Module):
    """A chain of layers and one residual connection, without names of blocks."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.stem, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(self.stem(x).relu()).relu()
        x = x + self.third(self.second(x).relu())
        return self.fc(x.mean((2, 3)))


def test_networks_without_names_of_blocks_are_cut_where_one_tensor_is_alive():
    network, images = Plain().eval(), torch.randn(3, 1, 8, 8)
    model = quantizable(network, (1, 8, 8))
    assert [segment.name for segment in model.segments] == ["stem", "first", "part_2", "head"]
    assert [segment.is_block for segment in model.segments] == [False, True, True, False]
    weights = [[name for name in segment.sites if name in model.weights] for segment in model.segments]
    assert weights == [["stem.weight"], ["first.weight"], ["second.weight", "third.weight"], ["fc.weight"]]
    with torch.no_grad():
        assert torch.equal(model.full_precision(images), network(images))


def test_vision_transformers_with_registers_do_not_diverge_under_fqvit():
    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=5, reg_tokens=2, no_embed_class=True
    ).eval()
    with torch.no_grad():
        network.cls_token.zero_()
        network.reg_token.zero_()
    images = torch.randn(4, 3, 32, 32)
    model = quantizable(network, (3, 32, 32))
    for setting, finite in (("released", False), ("safe", True)):
        model.clear()
        stack = check(f"fqvit(layernorm_zero={setting})")
        stack.steps[0].method.apply(model, CalibrationSet(images), Context(Bits.parse("w8a8")))
        assert bool(torch.isfinite(model(images)).all()) is finite


def test_kind_of_sizes_is_none():
    captured = capture(NETWORKS["xcit"]().eval(), (3, 32, 32))
    sizes = [node for node in captured.graph.nodes if "sym_size" in str(node.target)]
    assert sizes
    assert all(kind_of(node) is None for node in sizes)
