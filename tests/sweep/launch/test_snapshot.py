"""Copies of the code: named after their content, looked at before anything of them runs."""

import os
import shlex
import subprocess
import sys

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.machine import code_digest
from harness.store.store import Store
from harness.sweep.launch import snapshot
from harness.sweep.manifest import find
from tests.sweep.launch.idle import without_workers


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A copy, for tests that leave it as it is."""
    return snapshot.take(tmp_path_factory.mktemp("code"))


def test_a_copy_is_shared_while_the_code_is_the_same(taken):
    assert snapshot.take(taken.parent) == taken
    assert code_digest.digest_of(taken) == taken.name
    assert (taken / "harness" / "cli" / "main.py").is_file()
    assert (taken / "harness" / "conf" / "sweep.yaml").is_file()
    assert (taken / "harness" / "embedded" / "weights.safetensors").is_file()
    assert (taken / "harness" / "methods" / "evolq.py").is_file(), "links are followed"
    assert not list(taken.rglob("__pycache__"))
    assert not (taken / "harness" / "leaderboard" / "results").exists(), "results are no code"
    assert [path.name for path in taken.parent.iterdir()] == [taken.name], "nothing is left beside it"


def small(folder):
    """A copy of a package of two files."""
    aside = folder / "aside"
    (aside / "harness").mkdir(parents=True)
    (aside / "harness" / "__init__.py").write_text("")
    (aside / "harness" / "run.py").write_text("print('as planned')\n")
    return aside.rename(folder / code_digest.digest_of(aside))


def edit(copy):
    (copy / "harness" / "run.py").write_text("print('not planned')\n")


def add(copy):
    (copy / "sitecustomize.py").write_text("print('not planned')\n")


def compiled(copy):
    (copy / "harness" / "__pycache__").mkdir()
    (copy / "harness" / "__pycache__" / "run.cpython-312.pyc").write_bytes(b"x")


def remove(copy):
    (copy / "harness" / "run.py").unlink()


def link(copy):
    (copy / "harness" / "run.py").rename(copy.parent / "elsewhere.py")
    (copy / "harness" / "run.py").symlink_to(copy.parent / "elsewhere.py")


def link_folder(copy):
    (copy.parent / "package").mkdir()
    (copy / "other").symlink_to(copy.parent / "package")


def swap(copy):
    (copy / "harness" / "run.py").rename(copy / "harness" / "ran.py")


TAMPERED = [edit, add, compiled, remove, link, link_folder, swap]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_every_change_is_noticed(tmp_path, tamper):
    copy = small(tmp_path)
    snapshot.verify(copy)
    tamper(copy)
    with pytest.raises(UsageError, match="was changed") as refused:
        snapshot.verify(copy)
    assert copy.name in str(refused.value)


def test_a_copy_that_is_gone_or_a_link_is_refused(tmp_path):
    copy = small(tmp_path)
    moved = copy.rename(tmp_path / "moved")
    copy.symlink_to(moved)
    for place in (copy, tmp_path / ("0" * 32)):
        with pytest.raises(UsageError, match="its content is nothing"):
            snapshot.verify(place)


@pytest.mark.parametrize("tamper", [None, *TAMPERED])
def test_a_job_looks_before_it_imports(tmp_path, tamper):
    """The line of the job's script, in a shell, in front of a program that runs the copy."""
    copy = small(tmp_path)
    if tamper is not None:
        tamper(copy)
    line = snapshot.verify_line(copy)
    script = f"{line}\nexport PYTHONPATH={shlex.quote(str(copy))}\n{shlex.quote(sys.executable)} -P -m harness.run"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    if tamper is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "as planned\n", "")
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert "nothing of it was run" in done.stderr


WORDS = ["sweep", "--method", "minmax", "--calib", "4", "--eval-limit", "8", "--quiet", "--workers", "1"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "runs")


def test_a_resumed_sweep_refuses_a_copy_that_was_changed(home, tmp_path, monkeypatch, capsys):
    """The code would be taken under the same name again."""
    without_workers(monkeypatch)
    assert main(WORDS) == 0
    (code,) = (find(home, None).folder / "code").iterdir()
    (code / "harness" / "__init__.py").write_text("open('ran', 'w')\n")
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_HOME", str(home.root))
    capsys.readouterr()
    assert main(["resume", "--quiet"]) == 2
    assert f"{code.name!s}' was changed" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_no_worker_starts_from_a_copy_that_was_changed(home, tmp_path, monkeypatch, capsys):
    """Changed after it was taken, before a worker starts."""
    copy = small(tmp_path)
    (copy / "sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr("harness.sweep.launch.snapshot.take", lambda folder: copy)
    assert main(WORDS) == 2
    assert "was changed" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert list(home.records()) == []
