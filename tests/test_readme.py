"""README and docs are true: methods are listed, commands parse, links and files exist. The example method: test_docs.py."""

import re
import shlex
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
READERS_OWN = {"methods/clip.py"}  # files that a page has the reader write
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


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
    assert not [name for name in named if name not in READERS_OWN and not (ROOT / name).exists()]


@pytest.mark.slow
def test_python_shown_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    (code,) = blocks(DOCS / "getting-started.md", "python")
    names = {}
    exec(compile(code, "getting-started.md", "exec"), names)
    assert names["record"]["status"] == "done"
    assert isinstance(names["network"], torch.nn.Module)
