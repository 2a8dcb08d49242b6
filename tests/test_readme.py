"""README and docs are true: the example method runs, methods are listed, commands parse, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from harness.run.run_trial import run_trial
from harness.trial.spec import TrialSpec

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The whole method on the page for authors, installed as a package of its own; its name."""
    (code,) = [block for block in blocks(DOCS / "writing-a-method.md", "python") if '@register("clip"' in block]
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


def test_every_method_is_in_the_table_of_methods():
    from harness.method.registry import available

    rows = re.findall(r"^\| (`[^|]*) \| (\w+) \|", (DOCS / "methods.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: role for names, role in rows for name in re.findall(r"`([^`]+)`", names)}
    assert listed == {name: str(info.role) for name, info in available().items()}


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def commands(page):
    """The command lines of ``harness`` that a page shows in its shell blocks."""
    for block in blocks(page, "sh"):
        yield from (line.rpartition(" && ")[2] for line in block.splitlines() if re.match(r"(.* && )?harness \w", line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_shown_are_understood(page):
    from harness.cli.main import build_parser

    for command in commands(page):
        try:
            build_parser().parse_args(shlex.split(command, comments=True)[1:])
        except SystemExit:
            pytest.fail(f"{page.name} shows a command that is not understood: {command}")


def test_commands_are_shown():
    assert len(list(commands(README))) >= 6
    assert sum(len(list(commands(page))) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_are_there(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("names files of former versions")
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:harness|methods|baselines|leaderboard|tests|benchmarks)/[\w/.-]*)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]
