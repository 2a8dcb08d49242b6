"""Widths of single sites: grammar, canonical form, what a pattern names, and what is said of one that names nothing."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SiteError, UsageError
from harness.trial.bit_check import check_paths, check_sites
from harness.trial.bit_rules import BitRule, SitePattern, address_of
from harness.trial.bits import Bits
from harness.trial.identity import content_id


@dataclass(frozen=True)
class Named:
    name: str
    module: str
    kind: str


SITES = [
    Named("input", "", "input"),
    Named("patch_embed.proj:conv[x]", "patch_embed.proj", "input"),
    Named("patch_embed.proj.weight", "patch_embed.proj", "weight"),
    Named("pos_embed", "", "constant"),
    Named("model:add", "", "add"),
    *(
        site
        for block in ("blocks.0", "blocks.1", "blocks.11")
        for site in (
            Named(f"{block}.attn.qkv.weight", f"{block}.attn.qkv", "weight"),
            Named(f"{block}.attn.qkv:linear[x]", f"{block}.attn.qkv", "layer_norm"),
            Named(f"{block}.attn:matmul", f"{block}.attn", "matmul"),
            Named(f"{block}.attn:softmax", f"{block}.attn", "softmax"),
            Named(f"{block}.attn:matmul_1[a]", f"{block}.attn", "softmax"),
            Named(f"{block}:add", block, "add"),
            Named(f"{block}:add_1", block, "add"),
        )
    ),
    Named("head.weight", "head", "weight"),
    Named("head:linear", "head", "linear"),
]


def named_by(pattern):
    return [site.name for site in SITES if SitePattern.parse(pattern).matches(site)]


def test_a_path_takes_the_module_and_all_that_is_inside():
    assert named_by("blocks.1") == [
        site.name for site in SITES if site.module.startswith("blocks.1") and "11" not in site.name
    ]
    assert named_by("blocks.1.*") == named_by("blocks.1")
    assert named_by("head") == ["head.weight", "head:linear"]
    assert len(named_by("*")) == len(SITES)
    assert named_by("blocks.*.attn.*") == named_by("*.attn") != []
    assert named_by("pos_embed") == ["pos_embed"]
    assert named_by("blocks.0.attn.qkv.weight") == ["blocks.0.attn.qkv.weight"]


def test_an_operation_is_of_the_module_alone_unless_asked_otherwise():
    assert named_by("blocks.[0-1].*:add") == ["blocks.0:add", "blocks.0:add_1", "blocks.1:add", "blocks.1:add_1"]
    assert named_by("blocks.0:add_0") == ["blocks.0:add"]
    assert named_by("blocks.0:add_1") == ["blocks.0:add_1"]
    assert named_by("blocks.0:softmax") == []
    assert named_by("blocks.0.*:softmax") == ["blocks.0.attn:softmax", "blocks.0.attn:matmul_1[a]"]
    assert named_by("blocks.0.attn:matmul[a]") == ["blocks.0.attn:matmul_1[a]"]
    assert named_by("*:weight") == [site.name for site in SITES if site.kind == "weight"]
    assert named_by("model:add") == ["model:add"]


def test_every_site_has_an_address_of_its_own():
    for site in SITES:
        assert named_by(address_of(site)) == [site.name]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("w4a8", "w4a8"),
        (" W4A8 ; b.*.attn.* = W8A8 ;head=w8; b.[0-2].*:add = 32;", "w4a8;b.*.attn=w8a8;head=w8;b.[0-2].*:add=32"),
        ("w4a8;head=w4", "w4a8"),
        ("w4a8;head=w4a8;blocks.0=w8", "w4a8;blocks.0=w8"),
        ("w4a8;head=w8;head=w6", "w4a8;head=w6"),
        ("w4a8;head=w8;head=w6a6", "w4a8;head=w6a6"),
        ("w4a8;head=w8a8;head=w6", "w4a8;head=w8a8;head=w6"),
        ("w4a8;head=w08", "w4a8;head=w8"),
        ("w8a8;head=8", "w8a8"),
        ("w4a8;", "w4a8"),
        ("w4a8;blocks.[!0-2]=w8;blocks.[]a]=w6;blocks.[[0]=w5", "w4a8;blocks.[!0-2]=w8;blocks.[]a]=w6;blocks.[[0]=w5"),
    ],
)  # fmt: skip
def test_canonical_form(text, canonical):
    assert str(Bits.parse(text)) == canonical
    assert str(Bits.parse(canonical)) == canonical


def test_later_rules_win_and_what_they_leave_out_stays():
    bits = Bits.parse("w4a8s4; blocks.0=w8a6; blocks.0.attn=a32; blocks.0.attn:softmax=7; blocks.1=3")
    at = {site.name: bits.at(site) for site in SITES}
    assert (at["blocks.0.attn.qkv.weight"].weight, at["head.weight"].weight) == (8, 4)
    assert (at["blocks.0:add"].activation, at["blocks.0.attn:matmul"].activation) == (6, 32)
    assert (at["blocks.0.attn:softmax"].softmax, at["blocks.0.attn:matmul_1[a]"].softmax) == (7, 7)
    assert (at["blocks.11.attn:softmax"].softmax, at["blocks.1.attn:softmax"].softmax) == (4, 3)
    assert all(one.uniform for one in at.values())


widths = st.sampled_from(["w4", "a8", "s3", "w8a6", "w8a8s4", "6", "32"])
patterns = st.sampled_from(["*", "head", "blocks.0", "blocks.*.attn", "*:add", "blocks.1.*:softmax", "input", "pos_embed"])


@given(st.lists(st.tuples(patterns, widths), max_size=6))
def test_the_canonical_form_means_the_same(rules):
    bits = Bits.parse("; ".join(["w5a7", *(f"{pattern} = {width}" for pattern, width in rules)]))
    read = Bits.parse(str(bits))
    assert [read.at(site) for site in SITES] == [bits.at(site) for site in SITES]
    assert str(read) == str(bits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w4a8; head", "'head' not understood: a rule is"),
        ("w4a8; head=", "'head=' not understood"),
        ("w4a8; head=b8", "not understood"),
        ("w4a8; =w8", "sites '' not understood"),
        ("w4a8; head(=8", "not understood"),
        ("w4a8; head:=8", "not understood"),
        ("w4a8; head=w9", "weight bits 9 in 'head=w9' are not possible: expected 2 to 8"),
        ("w4a8; head=1", "bits 1 in 'head=1'"),
        ("head=w8", "then rules for single sites"),
        ("w4a8; blocks.[0-2=w8", r"sites 'blocks.\[0-2' not understood: its '\[' is never closed; a rule is"),
        ("w4a8; blocks.[0-2", r"its '\[' is never closed"),
        ("w4a8; blocks.0-2]=w8", r"its '\]' is never opened"),
        ("w4a8; blocks.0:matmul[a=8", r"its '\[' is never closed"),
        ("w4a8;;head=w8", "an empty rule, two semicolons with nothing between them"),
        ("w4a8; head=w8; ;", "an empty rule"),
        ("w4a8; head=w8a", "'w8a' are no widths, expected such as w8"),
        ("w4a8; head=", "no widths after ="),
    ],
)
def test_wrong_rules_are_explained(text, message):
    with pytest.raises(UsageError, match=message):
        Bits.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hed=w8", "has no site hed. Did you mean head"),
        ("blocks.0:ad=4", "Did you mean add or add_1.*Its sites there are .*blocks.0:add"),
        ("blocks.0:add=w8", "sets the width of weights, and there are none .* names: blocks.0:add, blocks.0:add_1"),
        ("head=s8", "attention probabilities"),
        ("blocks.2=w8", "has no site blocks.2. Did you mean blocks"),
    ],
)
def test_a_rule_that_sets_nothing_is_refused(text, message):
    with pytest.raises(SiteError, match=message):
        check_sites(Bits.parse(f"w4a8;{text}"), SITES, "net")


def test_rules_that_set_something_pass():
    check_sites(Bits.parse("w4a8; *=5; head=w8a8; blocks.*.attn=s8; input=8; *:weight=w2"), SITES, "net")
    check_paths(Bits.parse("w4a8; head=w8; input=8; model:add=8"), ["head"], "net")
    with pytest.raises(SiteError, match=r"has no module hed\. Did you mean head"):
        check_paths(Bits.parse("w4a8; hed=w8"), ["head", "blocks.0"], "net")


def test_the_image_is_named_by_its_own_name_only():
    image = SITES[0]
    assert Bits.parse("w4a8; input=4").names(image)
    assert Bits.parse("w4a8; *:input=4").names(SITES[1])
    assert not Bits.parse("w4a8; *=4").names(image)


def test_full_precision_and_identity():
    assert Bits.parse("w32a32;head=32").full_precision
    assert not Bits.parse("w32a32;head=8").full_precision
    assert Bits.parse("w8a8;head=8").uniform
    assert content_id({"bits": str(Bits.parse("w4a8; head=w4"))}) == content_id({"bits": "w4a8"})
    assert BitRule.parse("head=w8a8s4").widths == "w8a8s4"
