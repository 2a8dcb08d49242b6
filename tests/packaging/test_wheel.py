"""What is shipped: a wheel that holds ``harness`` only, works beside a stranger's ``methods``, and builds from the sdist.

Setuptools writes into the tree that it builds, so a copy of the checkout is built.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.lanes import sparing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("harness", "methods", "baselines", "leaderboard")
FILES = ("pyproject.toml", "README.md", "LICENSE")
STRANGERS = ("methods", "baselines", "leaderboard")
MARK = "A STRANGER'S PACKAGE"
SHIPPED = (
    "harness/py.typed",
    "harness/methods/fqvit.py",
    "harness/methods/evolq.py",
    "harness/baselines/observers.py",
    "harness/baselines/engines/reconstruction.py",
    "harness/leaderboard/report.py",
    "harness/conf/sweep.yaml",
    "harness/embedded/images.npz",
    "harness/embedded/weights.safetensors",
    "harness/data/photos/split.csv",
    "harness/data/photos/attribution.csv",
    "harness/testing/plugin.py",
)
MOST_BYTES = 40e6
SNAPSHOT = """
    import sys
    from pathlib import Path
    from harness.sweep.launch.snapshot import take
    print(take(Path(sys.argv[1])))
"""


def call(*command, cwd, path=()):
    """Run a command of this interpreter away from the checkout, with ``path`` as PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    environment["HARNESS_HOME"] = str(cwd / "runs")
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def copy_of_the_checkout(target):
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, target / file)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, the wheel made from the checkout and the wheel made from the sdist."""
    pytest.importorskip("build")
    checkout, out = copy_of_the_checkout(tmp_path_factory.mktemp("checkout")), tmp_path_factory.mktemp("dist")
    call("-m", "build", "--no-isolation", "--wheel", "--outdir", str(out / "direct"), str(checkout), cwd=out)
    shutil.rmtree(checkout / "build")
    call("-m", "build", "--no-isolation", "--outdir", str(out / "both"), str(checkout), cwd=out)  # sdist, then wheel of it
    (direct,), (sdist,), (wheel,) = (out.glob(name) for name in ("direct/*.whl", "both/*.tar.gz", "both/*.whl"))
    return direct, sdist, wheel


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_puts_nothing_but_harness_into_site_packages(built):
    for wheel in (built[0], built[2]):
        tops = {name.partition("/")[0] for name in names_in(wheel)}
        assert tops - {"harness"} == {top for top in tops if top.endswith(".dist-info")}
        assert len(tops) == 2


def test_the_wheel_is_complete(built):
    names = names_in(built[0])
    assert set(SHIPPED) <= names
    sources = {path for folder in STRANGERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    left_out = {"__pycache__", "results", "submissions"}  # results are for readers of the repository
    expected = {f"harness/{path.relative_to(ROOT).as_posix()}" for path in sources if not left_out & set(path.parts)}
    assert expected <= names, "methods, baselines and leaderboard with their assets and tables"
    photographs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "harness" / "data" / "photos").glob("*/*.jpg")}
    assert photographs <= names
    assert len(photographs) == 500
    assert built[0].stat().st_size < MOST_BYTES
    assert {name for name in names if name.endswith("METADATA")}


def test_the_wheel_of_the_sdist_is_the_same(built):
    direct, sdist, wheel = built
    assert names_in(direct) == names_in(wheel)
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()], "the links became folders"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    wheel = str(built[2])
    call("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), wheel, cwd=target)
    return target


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder with packages called like ours, each of which refuses to be imported."""
    folder = tmp_path_factory.mktemp("stranger")
    for name in STRANGERS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError({MARK!r})\n")
        (folder / name / "fqvit.py").write_text(f"raise RuntimeError({MARK!r})  # register\n")
    return folder


PLACES = ["present folder", "PYTHONPATH"]
by_the_path = pytest.mark.parametrize("surroundings", sparing(PLACES, ["PYTHONPATH"]), indirect=True)


@pytest.fixture(params=PLACES)
def surroundings(request, installed, stranger, tmp_path):
    """Where a command runs and with which path: the stranger's packages lie in either."""
    if request.param == "present folder":
        return {"cwd": stranger, "path": [installed]}
    return {"cwd": tmp_path, "path": [stranger, installed]}


def test_the_installed_package_is_the_one_that_is_used(surroundings, installed):
    (file,) = call("-c", "import harness; print(harness.__file__)", **surroundings).splitlines()
    assert Path(file).is_relative_to(installed)


@by_the_path
def test_a_strangers_packages_do_not_take_our_place(surroundings):
    listed = call("-m", "harness", "list", "methods", **surroundings)
    assert {"fqvit", "evolq", "minmax"} <= {line.partition(" ")[0] for line in listed.splitlines()}
    trial = ("--method", "minmax", "--calib", "4", "--eval-limit", "8", "--quiet")
    assert "minmax" in call("-m", "harness", "run", *trial, **surroundings)
    assert MARK not in call("-m", "harness", "report", **surroundings)


@by_the_path
def test_a_snapshot_of_a_sweep_has_ours_and_nothing_of_theirs(surroundings, tmp_path):
    code = "\n".join(line[4:] for line in SNAPSHOT.splitlines())
    (copy,) = call("-c", code, str(tmp_path / "code"), **surroundings).splitlines()
    files = list(Path(copy).rglob("*.py"))
    assert {path.relative_to(copy).parts[0] for path in files} == {"harness"}
    assert (Path(copy) / "harness" / "methods" / "fqvit.py").read_text() == (ROOT / "methods" / "fqvit.py").read_text()
    assert not [path for path in files if MARK in path.read_text(encoding="utf-8")]


def test_a_copy_that_lost_its_links_says_so_in_one_line(tmp_path):
    checkout = copy_of_the_checkout(tmp_path)
    for name in STRANGERS:
        (checkout / "harness" / name).unlink()
        (checkout / "harness" / name).write_text(f"../{name}")  # what git writes where links are not possible
    # An editable install of this checkout would find its folders in the place of the missing ones.
    code = (
        "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path if 'Editable' not in repr(finder)]; "
        "from harness.cli.main import main; sys.exit(main(['list', 'methods']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "ln -s ../methods harness/methods" in done.stderr
