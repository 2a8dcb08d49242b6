"""docs/writing-a-method.md is real: its files make a package whose method passes the kit, and its snippets run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.method.stack import check
from harness.quant.format.registration import number_formats
from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "writing-a-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE))
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page's package, with what installing it would add."""
    folder = tmp_path_factory.mktemp("ptq-clip")
    for name, text in {**FILES, "ptq_clip/__init__.py": ""}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    points = project["entry-points"]["harness.methods"].items()
    info = folder / "ptq_clip-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text("[harness.methods]\n" + "\n".join(f"{name} = {value}" for name, value in points))
    return folder


def call(package, *command):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *command], cwd=package, env=environment, capture_output=True, text=True, check=False
    )


def test_the_package_passes_its_tests(package):
    done = call(package, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_the_method_is_listed_with_its_origin_and_described_with_its_bounds(package):
    shown = call(package, "-m", "harness", "describe", "method", "clip").stdout
    assert "from ptq-clip" in shown
    assert "most = 0.5  [float, above 0, below 1]" in shown
    assert "steps = 10  [int, at least 1]" in shown


def test_the_method_lowers_the_error(package, store, monkeypatch):
    monkeypatch.syspath_prepend(package)
    records = [
        run_trial(TrialSpec(stack, bits="w4a4", calib=16, eval_limit=100), store)[0] for stack in ("fqvit", "fqvit+clip")
    ]
    assert [record["status"] for record in records] == ["done", "done"]
    plain, clipped = (record["metrics"]["logit_sqnr_db"] for record in records)
    assert clipped > plain


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split("\n")[0])
def test_snippets_run(snippet, model, calibration, context, monkeypatch):
    monkeypatch.setattr("harness.quant.format.registration._CLASSES", number_formats())  # the page's is known here only
    for step in check("minmax").steps:
        step.method.apply(model, calibration, context())
    exec(compile(snippet, "writing-a-method.md", "exec"), {"model": model, "calibration": calibration, "context": context})


def test_the_page_names_what_exists():
    from harness.method import registry

    known = registry.available()
    for row in re.findall(r"^\| `[A-Z]+` \|.*\| (.*) \|$", PAGE, re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", row)) - {"clip"} <= set(known) | {"blocks", "pos_embed"}
