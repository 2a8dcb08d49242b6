"""Where a report writes: into a new or empty folder, or over its own files; never over anybody else's."""

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.leaderboard.render.folder import MARKER, ReportFolder
from harness.leaderboard.report import write
from harness.store.store import Store
from tests.leaderboard.synthetic import add, evidence, rows

LONGEST_NAME = 80
FORMATS = ["--format", "md,csv,parquet,latex", "--quiet"]


@pytest.fixture
def report(store, capsys):
    add(store, "fqvit", 800)

    def call(out, *words, root=store.root):
        code = main(["report", "--store", str(root), "--out", str(out), *FORMATS, *words])
        return code, capsys.readouterr().err

    return call


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [False, True])
def test_a_new_or_an_empty_folder_and_the_own_one_again(report, tmp_path, make):
    out = tmp_path / "a" / "board"
    if make:
        out.mkdir(parents=True)
    assert report(out) == (0, "")
    names = {path.name for path in out.iterdir()}
    assert names == {"README.md", "leaderboard.csv", "leaderboard.parquet", "leaderboard.tex", MARKER}
    assert report(out) == (0, "")


@pytest.mark.parametrize("other", ["README.md", "thesis.tex", ".hidden"])
def test_a_folder_of_somebody_else_is_refused_by_name(report, tmp_path, other):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / other).write_text("mine")
    code, err = report(tmp_path / "work")
    assert code == 2
    assert all(word in err for word in (str(tmp_path / "work"), other, "--overwrite"))
    assert content(tmp_path / "work") == {(tmp_path / "work" / other).relative_to(tmp_path / "work"): b"mine"}
    assert report(tmp_path / "work", "--overwrite") == (0, "")


def test_a_store_is_no_folder_for_reports(report, store):
    before = content(store.root)
    assert report(store.root)[0] == 2
    assert {name: text for name, text in content(store.root).items() if name.name != "results.parquet"} == before


def test_a_file_that_came_later_is_not_replaced(report, tmp_path):
    out = tmp_path / "board"
    assert main(["report", "--store", str(tmp_path / "runs"), "--out", str(out), "--format", "csv"]) == 0
    assert report(out, "--format", "csv")[0] == 0
    (out / "README.md").write_text("mine")
    code, err = report(out)
    assert (code, "README.md" in err) == (2, True)
    assert (out / "README.md").read_text() == "mine"


@pytest.mark.parametrize("marker", ["", "{", "[]", '{"files": 3}', "[" * 100_000, '{"files": ["README.md"'])
def test_a_broken_marker_allows_nothing(tmp_path, marker):
    (tmp_path / MARKER).write_text(marker)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="no report wrote"):
        ReportFolder(tmp_path)


def test_a_link_in_the_place_of_a_file_is_not_followed(report, tmp_path):
    out, secret = tmp_path / "board", tmp_path / "secret"
    assert report(out)[0] == 0
    secret.write_text("mine")
    for name in ("README.md", "leaderboard.csv"):
        (out / name).unlink()
        (out / name).symlink_to(secret)
    assert report(out)[0] == 0
    assert secret.read_text() == "mine"
    assert not (out / "README.md").is_symlink()


@pytest.mark.parametrize("place", ["file", "file/below", "n" * 300])
def test_what_cannot_be_a_folder_is_named(report, tmp_path, place):
    (tmp_path / "file").touch()
    code, err = report(tmp_path / place)
    assert code == 2
    assert err.startswith(f"error: folder '{tmp_path / place}' cannot be written"), "diagnose and recommend write no report"


def test_looking_writes_into_no_folder_that_is_not_a_store(tmp_path, capsys):
    (tmp_path / "photographs").mkdir()
    assert main(["report", "--store", str(tmp_path / "photographs")]) == 0
    assert list((tmp_path / "photographs").iterdir()) == []


@pytest.mark.slow
def test_pictures_of_hostile_names(tmp_path):
    """Not parsed as mathematics, valid XML, no path, no name too long for the file system."""
    store = Store(tmp_path / "runs")
    name = "$x^{$ \x1b[2J <b>& ../../" + "long" * 100
    add(store, name, 800, model=name, environment={"device": "cpu", "cpu": name, "threads": 2})
    add(store, "fqvit", 700, model=name)
    written = write(rows(store), evidence(store), tmp_path / "board", ["svg", "md"])
    assert all(path.parent == tmp_path / "board" and len(path.name.encode()) < LONGEST_NAME for path in written)
    drawn = [path.read_text(encoding="utf-8") for path in written if path.suffix == ".svg"]
    assert drawn
    assert not any("\x1b" in text for text in drawn)
    assert all("\\u001b[2J" in text for text in drawn)
