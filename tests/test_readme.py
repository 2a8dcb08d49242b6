"""The README's example method is real: it registers, passes through the stack check and runs."""

import re
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "readme_clip.py").write_text(code)
    info = tmp_path / "readme_clip-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: readme_clip\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.methods]\nclip = readme_clip:Clip\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_the_example_method_runs(example, store):
    spec = TrialSpec("fqvit+clip(share=0.05)", calib=8, eval_limit=50)
    record, _ = run_trial(spec, store)
    assert record["status"] == "done"
    assert record["stack"] == "fqvit+clip(share=0.05)"
    plain, _ = run_trial(TrialSpec("fqvit", calib=8, eval_limit=50), store)
    assert plain["metrics"]["logit_sqnr_db"] != record["metrics"]["logit_sqnr_db"]


def test_every_method_is_in_the_table():
    from harness.method.registry import available

    text = README.read_text(encoding="utf-8")
    assert not [name for name in available() if f"`{name}`" not in text]


def test_commands_shown_exist():
    shown = set(re.findall(r"^harness (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown
    for command in shown:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
