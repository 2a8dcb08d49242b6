"""Finding methods without importing them, and plugins of other packages."""

import importlib.util

import pytest

from harness.errors import HarnessError, UsageError
from harness.method import registry
from harness.method.registration import Role
from harness.method.settings import settings_of

PLUGIN = '''
from dataclasses import dataclass
from harness.method.base import Method
from harness.method.registration import Role, register

@dataclass(frozen=True)
class Config:
    pass

@register("{name}", role=Role.CORRECT, needs=("scheme",), version=2, paper="none")
class Plug(Method[Config]):
    """Does nothing, from elsewhere."""
    Config = Config
    def apply(self, model, calibration, context):
        pass
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    def install(name="plugged", module="plug_module", target=None, body=PLUGIN):
        (tmp_path / f"{module}.py").write_text(body.format(name=name))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[harness.methods]\n{name} = {target or module + ':Plug'}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_all_methods_are_known_with_their_facts():
    known = registry.available()
    assert {"fqvit", "omse", "biascorr", "gradopt", "evolq", "fp32", "minmax", "ema", "percentile"} <= set(known)
    assert known["evolq"].role is Role.REFINE
    assert all(info.summary.endswith(".") for info in known.values())


def importable():
    """All methods whose optional library is there."""
    for name, info in registry.available().items():
        if not info.extra or importlib.util.find_spec(info.extra):
            yield name, info


def test_the_source_text_and_the_class_agree():
    for name, info in importable():
        assert registry.load(name).info == info


def test_every_setting_is_documented():
    for name, _ in importable():
        for setting in settings_of(registry.load(name).Config):
            assert setting.description, f"{name}.{setting.name}"


def test_a_plugin_of_another_package_is_found_and_loads(plugin):
    plugin()
    info = registry.available()["plugged"]
    assert (info.version, info.source, info.summary) == (2, "plug_module", "Does nothing, from elsewhere.")
    assert registry.load("plugged").__name__ == "Plug"


def test_a_broken_plugin_is_reported_and_left_out(plugin, capsys):
    plugin(name="broken", module="broken_module", target="broken_module:Missing")
    assert "broken" not in registry.available()
    assert "broken of broken_module" in capsys.readouterr().err


@pytest.mark.parametrize(
    "decorator",
    [
        '@register("odd")',
        '@register("odd", role=Role.NOPE)',
        '@register("odd", role=Role.RANGE, needs=5)',
        "@register()",
        "@register((",
    ],
)
def test_a_plugin_with_a_wrong_registration_is_left_out(plugin, capsys, decorator):
    plugin(name="odd", module="odd_module", body=f"{decorator}\nclass Plug:\n    pass\n")
    assert "odd" not in registry.available()
    assert "odd_module:Plug" in capsys.readouterr().err


def test_a_plugin_whose_library_is_missing_is_one_line(plugin):
    plugin(name="needy", module="needy_module", body="import no_such_library\n" + PLUGIN)
    assert "needy" in registry.available()
    with pytest.raises(UsageError, match=r"'needy' of needy_module cannot be imported: No module named 'no_such_library'"):
        registry.load("needy")


def test_a_broken_file_among_the_methods_is_left_out(tmp_path, monkeypatch, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.py").write_text("register def (")
    (tmp_path / "own" / "good.py").write_text(PLUGIN.format(name="good"))
    (tmp_path / "own" / "helpers.py").write_text("def register_nothing(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "PACKAGES", ("own",))
    assert set(registry.available()) == {"good"}
    assert "own.broken is left out" in capsys.readouterr().err


def test_a_name_taken_twice_names_both_owners(plugin):
    plugin(name="fqvit", module="taken_module")
    with pytest.raises(HarnessError, match=r"methods\.fqvit:Fqvit and taken_module:Plug"):
        registry.available()


def test_unknown_method():
    with pytest.raises(UsageError, match="Did you mean omse"):
        registry.load("omze")
