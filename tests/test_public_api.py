"""What ``from harness import ...`` promises: listed, typed, documented, and light until it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parents[1]


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse((ROOT / "harness" / "__init__.py").read_text())
    imports = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert imports == harness.PUBLIC
    assert (ROOT / "harness" / "py.typed").is_file()


@pytest.mark.parametrize("name", sorted(harness.PUBLIC))
def test_every_public_name_can_be_imported_and_is_documented(name):
    value = getattr(harness, name)
    assert inspect.getdoc(value)
    assert f"`{name}`" in (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")


def test_importing_the_package_is_light():
    code = "import sys, harness; sys.exit(bool({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no public name 'run_trail': expected one of .*run_trial"):
        harness.run_trail  # noqa: B018 (the access is what is tested)


def test_five_lines_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from harness import Store, TrialSpec, load_quantized, run_trial

    result = run_trial(TrialSpec("minmax", bits="w4a8", calib=8, eval_limit=64))
    network = load_quantized(Store.default(), result.record["id"])
    assert result.record["status"] == "done"
    assert not result.cached
    assert run_trial(TrialSpec("minmax", bits="w4a8", calib=8, eval_limit=64)).cached
    assert (tmp_path / "runs").is_dir()
    assert sum(1 for _ in network.buffers()) > 0
