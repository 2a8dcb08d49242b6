"""Settings that another one fixes: one form for both ways to write them, and a clash that names both."""

import json

import pytest

from harness.cli.main import main
from harness.errors import StackError
from harness.method import registry
from harness.method.registration import Role
from harness.method.settings import settings_of
from harness.method.stack import check
from harness.trial.identity import content_id

SCHEMES = [name for name, info in registry.available().items() if info.role is Role.SCHEME and not info.extra]
WITHOUT = {"fp32"}  # quantizes nothing


def identity(text):
    return content_id({"stack": check(text).identity()})


@pytest.mark.parametrize(
    ("short", "spelled"),
    [
        ("minmax(sites=deploy)", "minmax(sites=deploy,weights=symmetric,attention=false)"),
        ("minmax", "minmax(sites=values,attention=false)"),
        ("fqvit", "fqvit(sites=values)"),
        ("repqvit(sites=deploy)", "repqvit(softmax=uniform,zero_point=rounded,sites=deploy,reparameterise=true)"),
        ("easyquant", "easyquant(sites=operands)"),
        ("ptq4vit(sites=deploy)", "ptq4vit(sites=deploy,twin=none)"),
        ("adalog(sites=deploy)", "adalog(sites=deploy,logarithms=false)"),
        ("adalog(sites=deploy,preset=uniform)", "adalog(preset=uniform,sites=deploy)"),
    ],
)
def test_a_fixed_setting_may_be_written_or_not(short, spelled):
    assert str(check(spelled)) == short
    assert identity(spelled) == identity(short)
    assert identity(str(check(spelled))) == identity(short)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "minmax(sites=deploy,weights=asymmetric)",
            "minmax: sites=deploy goes with weights=symmetric only, and weights=asymmetric was given; "
            "fix: leave weights out, or choose sites=values or sites=operands",
        ),
        (
            "ema(attention=true)",
            "ema: sites=values goes with attention=false only, and attention=true was given; "
            "fix: leave attention out, or choose sites=deploy",
        ),
        (
            "repqvit(sites=deploy,softmax=log_sqrt2)",
            "sites=deploy goes with softmax=uniform only, and softmax=log_sqrt2 was given; "
            "fix: leave softmax out, or choose sites=operands",
        ),
        ("ptq4vit(sites=deploy,twin=released)", "sites=deploy goes with twin=none only"),
        ("adalog(sites=deploy,zero_point=fraction)", "sites=deploy goes with zero_point=rounded only"),
        ("fqvit(sites=deploy)", "so nothing of FQ-ViT would be left; fix: use minmax(sites=deploy)"),
        ("fqvit(sites=operands)", "fix: use minmax(sites=operands)"),
        ("easyquant(sites=values)", "fix: use sites=operands or sites=deploy, or a scheme over values: minmax"),
        ("minmax(sites=deplyo)", "Did you mean deploy?"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason_and_the_nearest_choice(text, expected):
    with pytest.raises(StackError) as refused:
        check(text)
    assert expected in str(refused.value)


def test_every_scheme_has_a_placement_and_its_default_adds_nothing_to_ids():
    for name in set(SCHEMES) - WITHOUT:
        settings = {setting.name: setting for setting in settings_of(registry.load(name).Config)}
        assert settings["sites"].default in settings["sites"].choices, name
        assert "sites" not in check(name).identity()[0]["config"], name
        assert str(check(f"{name}(sites={settings['sites'].default})")) == name


def test_describe_says_what_a_setting_fixes(capsys):
    assert main(["describe", "method", "repqvit"]) == 0
    assert "sites=deploy goes with: zero_point=rounded, softmax=uniform, reparameterise=true" in capsys.readouterr().out
    assert main(["describe", "method", "minmax", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["implies"]["sites"]["deploy"] == {"weights": "symmetric"}
