"""Finding methods without importing them, and plugins of other packages."""

import importlib.util
import json

import pytest

from harness.cli.main import main
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


def test_settings_know_their_bounds(capsys):
    settings = {setting.name: setting for setting in settings_of(registry.load("psaq").Config)}
    assert settings["iterations"].bounds == {"ge": 1}
    assert settings["warmup"].expected == "float, at least 0, below 1"
    assert main(["describe", "method", "psaq"]) == 0
    assert "warmup = 0.2  [float, at least 0, below 1]" in capsys.readouterr().out
    assert main(["describe", "method", "psaq", "--json"]) == 0
    described = {setting["name"]: setting["bounds"] for setting in json.loads(capsys.readouterr().out)["settings"]}
    assert described["warmup"] == {"ge": 0, "lt": 1}


def test_a_plugin_of_another_package_is_found_and_loads(plugin):
    plugin()
    info = registry.available()["plugged"]
    assert (info.version, info.source, info.summary) == (2, "plug_module", "Does nothing, from elsewhere.")
    assert registry.load("plugged").__name__ == "Plug"


def test_a_broken_plugin_is_reported_and_left_out(plugin, capsys):
    plugin(name="broken", module="broken_module", target="broken_module:Plugg")
    assert "broken" not in registry.available()
    said = capsys.readouterr().err
    assert "broken of broken_module" in said
    assert "no class 'Plugg' with @register in broken_module. Did you mean Plug?" in said
    with pytest.raises(UsageError, match="unknown method 'broken': a plugin of that name is installed but left out"):
        registry.load("broken")


@pytest.mark.parametrize(("given", "line"), [("NAME, role=Role.RANGE", 2), ('"odd", role=Role.RANGE,\n version=NAME', 3)])
def test_a_registration_that_is_no_literal_names_the_line(plugin, capsys, given, line):
    plugin(name="odd", module="odd_module", body=f"NAME = 'odd'\n@register({given})\nclass Plug:\n    pass\n")
    assert "odd" not in registry.available()
    assert f"@register takes literals, line {line} has NAME" in capsys.readouterr().err


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
    with pytest.raises(
        UsageError, match=r"'needy' of needy_module cannot be imported: No module named 'no_such_library'"
    ) as one:
        registry.load("needy")
    assert one.value.hint == "for the traceback: python -c 'import needy_module'"


def test_a_broken_file_among_the_methods_is_left_out(tmp_path, monkeypatch, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.py").write_text("register def (")
    (tmp_path / "own" / "good.py").write_text(PLUGIN.format(name="good"))
    (tmp_path / "own" / "helpers.py").write_text("def register_nothing(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "PACKAGES", ("own",))
    assert set(registry.available()) == {"good"}
    assert "own.broken is left out" in capsys.readouterr().err


def test_two_built_in_methods_with_one_name_are_a_mistake_of_ours(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    for module in ("one", "two"):
        (tmp_path / "own" / f"{module}.py").write_text(PLUGIN.format(name="same"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "PACKAGES", ("own",))
    with pytest.raises(HarnessError, match=r"two methods are called 'same': own\.one:Plug and own\.two:Plug"):
        registry.available()


def test_a_plugin_with_the_name_of_a_built_in_method_is_left_out(plugin, capsys):
    plugin(name="fqvit", module="taken_module")
    assert registry.available()["fqvit"].target == "harness.methods.fqvit:Fqvit"
    said = capsys.readouterr().err
    assert "taken_module:Plug" in said
    assert "harness.methods.fqvit:Fqvit" in said


def test_of_two_plugins_with_one_name_none_is_taken(plugin, capsys):
    plugin(name="twin", module="first_module")
    plugin(name="twin", module="second_module")
    assert "twin" not in registry.available()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("first_module" in line and "second_module" in line for line in said)


def test_packages_are_searched_once_and_again_when_the_path_has_changed(plugin, monkeypatch):
    registry.available()
    reads = []
    original = registry.distributions
    monkeypatch.setattr(registry, "distributions", lambda: reads.append(1) or original())
    for _ in range(3):
        registry.available()
        registry.load("minmax")
    assert not reads
    plugin(name="later", module="later_module")
    assert "later" in registry.available()
    assert len(reads) == 1


@pytest.mark.parametrize("content", [b"[harness.methods]\n\xff\xfe = x:y", b"[harness.methods]\nnothing"])
def test_a_broken_list_of_entry_points_takes_nothing_else_away(plugin, tmp_path, capsys, content):
    plugin(name="good", module="good_module")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(content)
    known = registry.available()
    assert {"minmax", "good"} <= set(known)
    (line,) = capsys.readouterr().err.splitlines()
    assert "distribution broken is left out" in line


def test_a_package_with_thousands_of_methods_is_one_line(plugin, tmp_path, capsys):
    plugin(name="good", module="good_module")
    file = tmp_path / "good_module-1.0.dist-info" / "entry_points.txt"
    file.write_text("[harness.methods]\n" + "".join(f"m{index} = none:Plug\n" for index in range(3000)))
    assert "minmax" in registry.available()
    (line,) = capsys.readouterr().err.splitlines()
    assert "distribution good_module is left out" in line
    assert "3000 methods" in line


def test_a_package_is_read_without_importing_it(plugin, tmp_path):
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "outer" / "inner" / "__init__.py").write_text(PLUGIN.format(name="deep"))
    plugin(name="deep", module="deep_module", target="outer.inner:Plug")
    assert registry.available()["deep"].source == "deep_module"


def test_a_checkout_without_its_links_says_so(monkeypatch):
    monkeypatch.setattr(registry, "PACKAGES", ("harness.no_methods",))
    with pytest.raises(HarnessError, match=r"ln -s \.\./no_methods harness/no_methods"):
        registry.available()


def test_unknown_method():
    with pytest.raises(UsageError, match="Did you mean omse"):
        registry.load("omze")
