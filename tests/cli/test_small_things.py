"""Odd values on the command line and odd outputs: one line each, never a traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.actions.summary import print_summary
from harness.cli.main import main
from harness.errors import UsageError
from harness.machine.terminal import BarProgress
from harness.store.store import Store
from harness.trial.spec import TrialSpec
from tests.store.test_store import record

LONG = "a" * 5000


def told(capsys, *words):
    try:
        code = main([*words])
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2, err
    (line,) = err.strip().splitlines()
    assert line.startswith("error: "), err
    assert len(line) < 6000
    return line


@pytest.mark.parametrize("words", [["report"], ["doctor"], ["status"], ["plan", "--method", "fqvit"]])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (f"/tmp/{LONG}", "File name too long"),
        ("~nosuchuser/runs", "path '~nosuchuser/runs' is not possible: there is no such"),
    ],
)
def test_impossible_stores(capsys, words, place, expected):
    assert expected in told(capsys, *words, "--store", place, *(["--quiet"] if words[0] == "plan" else []))


def test_impossible_outputs(capsys, store, tmp_path):
    store.save(record("0" * 16))
    (tmp_path / "file").touch()
    place = ["--store", str(store.root)]
    assert "expected a folder" in told(capsys, "report", *place, "--quiet", "--out", str(tmp_path / "file"))
    assert "too long" in told(capsys, "report", *place, "--quiet", "--out", str(tmp_path / LONG))
    assert "too long" in told(capsys, "store", "export", *place, "--format", "csv", "--out", str(tmp_path / LONG))


@pytest.mark.parametrize(
    "words",
    [
        ["--memory", f"{'9' * 400}G"],
        ["--bits", f"w{'9' * 5000}a8"],
        ["--bits", f"w8a8s{'9' * 5000}"],
        ["--seed", "9" * 5000],
        ["--data", "~nosuchuser/images"],
        ["--weights", "~nosuchuser/x.safetensors"],
        ["--data", LONG],
    ],
)
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_impossible_values(capsys, tmp_path, verb, words):
    code = None
    try:
        code = main([verb, "--method", "fqvit", *words, "--store", str(tmp_path / "runs"), "--quiet"])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code == 2 and err.startswith("error: ")) or (verb == "plan" and "incompatible  1" in out), (code, out, err)
    assert "Traceback" not in err


def test_a_stored_command_with_an_open_quote(capsys, store):
    store.save(record("0" * 16, command="harness run --method 'fqvit"))
    assert "does not say how to repeat a trial" in told(capsys, "run", "--trial", "0" * 16, "--store", str(store.root))
    with pytest.raises(UsageError):
        TrialSpec.from_command("harness run --method 'fqvit")


def test_no_place_for_temporary_files(capsys, store, monkeypatch):
    """What the system says stays, also where it names no file."""

    def mkdtemp(*given, **more):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    assert "No usable temporary directory" in told(capsys, "report", "--records", str(store.root), "--quiet")


def test_a_broken_pipe_to_another_process_is_not_silent(capsys, store, monkeypatch):
    def broken(*given, **more):
        raise BrokenPipeError(32, "Broken pipe")

    store.root.mkdir(exist_ok=True)
    monkeypatch.setattr("harness.store.store.Store.records", broken)
    assert "Broken pipe" in told(capsys, "report", "--json", "--store", str(store.root))


MARKUP = "[/x] [bold"


def test_records_are_no_markup(capsys, tmp_path):
    """A record holds text of others: it is shown as it is, and what it lacks is a dash."""
    odd = record("0" * 16, stack=MARKUP, stages=[{"name": MARKUP, "seconds": 1.0}], off_grid_sites=[MARKUP])
    odd["coverage"] = [{"tensors": MARKUP, "quantized": 1, "total": 1, "bits": [8], "granularity": [MARKUP]}]
    print_summary(odd, tmp_path / "record.json", cached=True)
    assert capsys.readouterr().out.count("[/x] [bold") >= 4


def test_the_command_that_repeats_a_trial_names_the_store_that_was_given(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    print_summary(record("0" * 16), tmp_path / "record.json", cached=True, store=Path("my runs"))
    assert f"--store '{tmp_path}/my runs' --force" in capsys.readouterr().out
    print_summary(record("0" * 16), tmp_path / "record.json", cached=True)
    assert "--store" not in capsys.readouterr().out


def test_progress_is_no_markup(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # bars are drawn on terminals only
    monkeypatch.setenv("COLUMNS", "200")
    with BarProgress().task(f"a {MARKUP}", 2) as task:
        task.update(f"b {MARKUP}")
        task.advance()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert f"a {MARKUP}" in drawn
    assert f"b {MARKUP}" in drawn


def process(*words, **settings):
    return subprocess.run([sys.executable, "-m", "harness", *words], stderr=subprocess.PIPE, check=False, **settings)


@pytest.fixture
def odd_store(store):
    """A record with characters that ASCII does not have."""
    store.save(record("0" * 16, stack="fqvit", command="harness run --method 'fqvit≈é'"))
    store.save(record("1" * 16, "failed", error={"kind": "bug", "message": "ungültig ≈ \x1b[31m", "traceback": "é"}))
    return store


@pytest.mark.parametrize(
    "verb",
    [["--help"], ["report"], ["status"], ["list", "methods"], ["logs", "1" * 16], ["describe", "method", "evolq"]],
)
@pytest.mark.parametrize("case", ["ascii", "LC_ALL=C", "/dev/full", "closed", "reader gone"])
def test_outputs_that_cannot_take_it(odd_store, verb, case):
    environment = dict(os.environ, HARNESS_HOME=str(odd_store.root))
    if case == "ascii":
        environment["PYTHONIOENCODING"] = "ascii"
    if case == "LC_ALL=C":
        environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if case == "/dev/full":
        with open("/dev/full", "w") as output:
            ended = process(*verb, env=environment, stdout=output)
    elif case == "closed":
        ended = process(*verb, env=environment, preexec_fn=lambda: os.close(1))
    elif case == "reader gone":
        read, write = os.pipe()
        os.close(read)
        ended = process(*verb, env=environment, stdout=write)
        os.close(write)
    else:
        ended = process(*verb, env=environment, stdout=subprocess.PIPE)
        assert ended.stdout
    for word in (b"Traceback", b"Exception ignored", b"UnicodeEncodeError"):
        assert word not in ended.stderr, ended.stderr
    if case == "/dev/full":
        assert ended.returncode == 2
        assert ended.stderr.count(b"error: output cannot be written: No space left on device") == 1
    else:
        assert ended.returncode == 0, ended.stderr


def test_a_store_below_too_many_folders(capsys):
    """Making them one in the other ended in the middle."""
    words = ["run", "--method", "minmax", "--calib", "4", "--eval-limit", "8", "--quiet", "--store", "a/" * 1500]
    assert main(words) == 2
    assert "expected at most 200" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--model", "--weights", "--preprocess"])
def test_two_hyphens_are_no_value(option, capsys):
    """argparse makes an empty list of them."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "--method", "minmax", f"{option}=--"])
    assert ended.value.code == 2
    assert f"error: {option}=--: '--' is no value" in capsys.readouterr().err


def test_a_store_whose_name_is_not_unicode(tmp_path, capsys):
    store = Store(tmp_path / "\udcff")
    store.save(record("0" * 16))
    assert main(["store", "rebuild", "--store", str(store.root)]) == 0
    assert (store.root / "results.parquet").is_file()
    assert main(["report", "--store", str(store.root)]) == 0
    assert main(["compare", "\udcff", "fqvit", "--store", str(store.root)]) == 2
    assert "\\udcff" in capsys.readouterr().err
