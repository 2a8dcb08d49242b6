"""Rotation: exact in full precision on every family it takes, refused by name elsewhere, and what its matrices are."""

from functools import partial

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch.nn import LayerNorm

from harness.baselines.engines.orthogonal import hadamard, keeping_means, orthogonal
from harness.data.sets import CalibrationSet
from harness.errors import IncompatibleError, StackError
from harness.graph.bases import bases_of
from harness.graph.streams import streams_of
from harness.method import registry, stack
from harness.method.stack import check
from harness.quant.network.qmodel import quantizable
from tests.baselines.applying import apply

SETTINGS = {  # with how many pairs of each attention are turned
    "rotate": 1,
    "rotate(matrix=block,signs=aligned,heads=all)": 2,
    "rotate(matrix=random,norm=layer,heads=none)": 0,
}
SMALL = {
    "vit_tiny_patch16_224": {"depth": 2, "img_size": 64},
    "deit_tiny_distilled_patch16_224": {"depth": 2, "img_size": 64},
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 2, 2), "img_size": 112},
}


def network(name):
    """A small network of a family whose norms and biases are not what they are initialised with."""
    made = timm.create_model(name, num_classes=20, **SMALL.get(name, {})).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module", params=list(SMALL))
def family(request):
    torch.manual_seed(0)
    size = SMALL[request.param]["img_size"]
    return quantizable(network(request.param), (3, size, size), request.param), torch.randn(2, 3, size, size)


@pytest.mark.parametrize("stack", SETTINGS)
def test_it_is_exact_in_full_precision(family, stack, context):
    """Also where only parts of the network run: methods compare blocks with those of the turned network."""
    model, images = family
    model.clear()
    expected = model.full_precision(images)
    made = apply(model, CalibrationSet(images), context, stack)
    assert "turned" in made.notes["streams"].values()
    assert made.notes["turned_heads"] == SETTINGS[stack] * _attentions(model)
    assert model.replaced_weights
    assert (model(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert torch.equal(model.full_precision(images), expected)
    x = images
    for index in range(len(model.segments)):
        x = model.run_full_precision(x, index, index + 1)
    assert (x - expected).abs().max() < 1e-4 * expected.abs().max()


def _attentions(model):
    return len({site.attention for site in model.sites.values()} - {""})


def test_what_it_changes_is_a_block_s_output(family, context):
    """The residual stream really is another one: the same length of every token, other channels."""
    model, images = family
    model.clear()
    at = len(model.segments) - 1
    before = model.run_full_precision(images, 0, at)
    apply(model, CalibrationSet(images), context, "rotate(norm=layer)")
    after = model.run_full_precision(images, 0, at)
    assert torch.allclose(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-4)
    assert torch.allclose(after.mean(dim=-1), before.mean(dim=-1), atol=1e-4)
    assert (after - before).norm() > 0.5 * before.norm()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "no residual stream that is read through a LayerNorm"),
        ("mixer_s32_224", r"blocks.0:add writes to it"),
        ("deit3_small_patch16_224", r"blocks.0.ls1:mul writes to it"),
    ],
)
def test_networks_where_it_cannot_be_exact_are_refused_by_name(name, reason, context):
    model = quantizable(timm.create_model(name, num_classes=4).eval(), (3, 224, 224), name)
    with pytest.raises(IncompatibleError, match=rf"rotate: .*{name}.*{reason}"):
        apply(model, CalibrationSet(torch.zeros(1, 3, 224, 224)), context, "rotate")
    assert not model.replaced_weights


def test_a_stream_that_a_norm_writes_to_stays(context):
    model = quantizable(network("swin_tiny_patch4_window7_224"), (3, 112, 112), "swin_tiny_patch4_window7_224")
    streams = streams_of(bases_of(model.chain.captured))
    assert [stream.width for stream in streams] == [96, 192, 384, 768]
    assert streams[0].reason == "patch_embed.norm:layer_norm writes to it"
    assert [max(norm.copies for norm in stream.norms) for stream in streams] == [4, 4, 4, 1]


def test_outliers_are_spread(model, calibration, context):
    """One strong channel of the residual stream is what rotation is for."""
    images = calibration.images
    site = next(name for name, one in model.sites.items() if one.residual and name.startswith("blocks.1"))

    def peak(stack):
        model.clear()
        apply(model, calibration, context, stack, bits="w8a8")
        seen = {}
        model.observe(images, lambda name, x: seen.update({name: x}))
        return (seen[site].abs().amax() / seen[site].square().mean().sqrt()).item()

    assert peak("rotate+minmax") < 0.8 * peak("minmax")


def test_aligned_signs_make_means_positive(model, calibration, context):
    apply(model, calibration, context, "rotate(signs=aligned)", bits="w8a8")
    total = 0

    def watch(name, x):
        nonlocal total
        if model.sites[name].residual:
            total = total + x.flatten(0, -2).sum(0)

    model.observe(calibration.images, watch)
    assert (total > 0).float().mean() > 0.9


@pytest.mark.parametrize("scheme", ["fqvit", "minmax(sites=operands)", "repqvit", "fqvit(integer_layernorm=on)"])
def test_it_stacks_under_schemes(scheme, model, calibration, context):
    apply(model, calibration, context, f"rotate+{scheme}", bits="w8a8")
    expected = model.full_precision(calibration.images)
    error = (model(calibration.images) - expected).square().sum() / expected.square().sum()
    assert error < 0.02


def test_it_comes_before_the_scheme():
    assert str(check("rotate + fqvit+omse")) == "rotate+fqvit+omse"
    with pytest.raises(StackError, match=r"rotate changes the network that fqvit.*put rotate first: rotate\+fqvit"):
        check("fqvit+rotate")
    with pytest.raises(StackError, match="is there twice"):
        check("rotate+rotate+fqvit")
    known = registry.available()  # torchao need not be installed
    (problem,) = stack._order_problems(known["torchao"], set(), "", {"rotate": known["rotate"]}, "rotate+torchao")
    assert problem.text == "torchao quantizes the network without what rotate changes in it"


@pytest.mark.parametrize("size", [1, 2, 4, 12, 20, 24, 32, 64, 96, 192, 384, 768])
def test_hadamard_matrices(size):
    matrix = hadamard(size)
    assert set(matrix.flatten().tolist()) <= {1.0, -1.0}
    assert torch.equal(matrix @ matrix.T, size * torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("size", [3, 6, 18, 36])
def test_sizes_without_one_say_so(size):
    assert hadamard(size) is None


@given(st.sampled_from(["hadamard", "block", "random"]), st.integers(2, 60), st.integers(0, 100), st.booleans())
def test_matrices_are_orthogonal_and_keep_means_where_asked(form, size, seed, keep):
    matrix = orthogonal(form, size, 16, torch.Generator().manual_seed(seed))
    matrix = keeping_means(matrix) if keep else matrix
    ones = torch.ones(size, dtype=torch.float64)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-9)
    assert not keep or torch.allclose(matrix @ ones, ones, atol=1e-9)


def test_a_norm_without_an_offset(context):
    """Its gain moves into what reads it, and must not act twice."""
    made = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
        num_classes=5,
        norm_layer=partial(LayerNorm, bias=False),
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model, images = quantizable(made, (3, 32, 32), "without_offsets"), torch.randn(4, 3, 32, 32)
    expected = model.full_precision(images)
    apply(model, CalibrationSet(images), context, "rotate")
    assert model.turned_streams
    assert (model(images) - expected).abs().max() < 1e-4 * expected.abs().max()
