"""Plugins that are broken, raise, exit or steal names: each is one line, and the built-in methods go on working.

All of them are installed together and met by one process, so that none can hide behind another.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.hostile import ledger

GOOD = '''
from dataclasses import dataclass
from harness.method.base import Method
from harness.method.registration import Role, register

@dataclass(frozen=True)
class Config:
    """No settings."""

@register("NAME", role=Role.CORRECT, needs=("scheme",), version=1, paper="none")
class Plug(Method[Config]):
    """Does nothing, from elsewhere."""
    Config = Config
    def apply(self, model, calibration, context):
        pass
'''
INIT = "    def __init__(self, config):\n        {}\n"
# What is found when source is read: left out at once.
LEFT_OUT = {
    "missing": (GOOD.replace("class Plug", "class Other"), "no class 'Plug' with @register"),
    "syntax": ("@register((\n" + GOOD, "was never closed"),
    "binary": (b"register \xff\xfe\x00", "'utf-8' codec"),
    "deep": ("# register\nx = " + "(" * 5000 + ")" * 5000, "too many nested parentheses"),
    "renamed": (GOOD.replace('"NAME"', '"another"'), "registers as 'another'"),
    "wrong_version": (GOOD.replace("version=1", "version='1'"), "version='1': expected int"),
    "wrong_needs": (GOOD.replace('("scheme",)', '("scheme")'), "needs='scheme': expected tuple"),
    "evolq": (GOOD, "'evolq' is the name of a built-in method (harness.methods.evolq:Evolq)"),
}
# What shows when the method is asked for: that command ends with one line.
REFUSED = {
    "raises": ("raise RuntimeError('at import\\nin two lines')\n" + GOOD, "RuntimeError: at import in two lines"),
    "exits": ("import sys\nsys.exit(3)\n" + GOOD, "it calls sys.exit(3)"),
    "silent": ("raise SystemExit\n" + GOOD, "it calls sys.exit(None)"),
    "needy": ("import no_such_library\n" + GOOD, "No module named 'no_such_library'"),
    "no_config": (GOOD.replace("    Config = Config\n", "    Config = None\n"), "has no dataclass Config"),
    "odd_hint": ("from __future__ import annotations\n" + GOOD.replace('"""No settings."""', "a: Nothing = 1"), "NameError"),
}
UNUSABLE = {
    "init_raises": (GOOD + INIT.format("raise ValueError('in __init__')"), "ValueError: in __init__"),
    "init_exits": (GOOD + INIT.format("raise SystemExit(0)"), "it calls sys.exit(0)"),
    "abstract": (GOOD.replace("def apply", "def applied"), "abstract"),
    "set_default": (GOOD.replace('"""No settings."""', "a: object = object"), "not JSON serializable"),
    "post_init": (GOOD.replace('"""No settings."""', "def __post_init__(self):\n        1 / 0"), "ZeroDivisionError"),
}
WORK = GOOD.replace("        pass\n", "        WORK\n")
# What shows while it works: a failed record with its kind and reason, exit code 1.
AT_WORK = {
    "work_raises": ("raise ValueError('at work \\x1b[2J')", "(bug): at work"),
    "work_exits": ("import sys; sys.exit(0)", "(bug): method 'work_exits' calls sys.exit(0)"),
    "work_raises_a_base": ("raise BaseException('b')", "(bug): method 'work_raises_a_base' raises BaseException: b"),
    "work_recurses": ("self.apply(model, calibration, context)", "(bug): maximum recursion depth exceeded"),
    "work_asks_too_much": ("import torch; torch.empty(2**60)", "(oom): "),
    "work_notes_an_object": ("context.notes['x'] = object()", "(bug): method 'work_notes_an_object' notes what"),
}
# Likewise, because of the package around the module.
PACKAGED = {
    "parent_raises": ("raise OSError('of the package')", "of the package"),
    "parent_exits": ("import sys; sys.exit(4)", "it calls sys.exit(4)"),
}
LATE = [*REFUSED, *UNUSABLE, *PACKAGED]
TRIAL = ["--bits", "w8a8", "--calib", "4", "--eval-limit", "8"]

SCRIPT = """
    import contextlib, io, json, sys
    from harness.cli.main import main
    for arguments in json.loads(sys.argv[1]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def install(folder, name, body, *, module=None, package=""):
    module = module or f"bad_{name}"
    target = f"{module}:Plug"
    if package:
        (folder / f"{module}_package").mkdir()
        (folder / f"{module}_package" / "__init__.py").write_text(package)
        target = f"{module}_package.{module}:Plug"
    file = folder / f"{module}_package" / f"{module}.py" if package else folder / f"{module}.py"
    body = body if isinstance(body, bytes) else body.replace("NAME", name).encode()
    file.write_bytes(body)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness.methods]\n{name} = {target}\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, (body, _) in {**LEFT_OUT, **REFUSED, **UNUSABLE}.items():
        install(folder, name, body)
    for name, (work, _) in AT_WORK.items():
        install(folder, name, WORK.replace("WORK", work))
    for name, (package, _) in PACKAGED.items():
        install(folder, name, GOOD, package=package)
    install(folder, "twin", GOOD, module="twin_one")
    install(folder, "twin", GOOD, module="twin_two")
    install(folder, "good", GOOD)
    (folder / "nameless-1.0.dist-info").mkdir()
    (folder / "nameless-1.0.dist-info" / "entry_points.txt").write_text("[harness.methods]\nnameless = :\n")
    return folder


@pytest.fixture(scope="module")
def said(folder):
    """Exit code, output and errors of each command, all given to one process."""
    store = ["--store", str(folder / "runs")]
    commands = [["list", "methods", "--json"], ["describe", "method", "evolq"], ["describe", "method", "good"]]
    commands += [["run", "--method", "minmax", *TRIAL, *store], ["run", "--method", "minmax+good", *TRIAL, *store]]
    for name in LATE:
        commands += [["describe", "method", name], ["run", "--method", f"minmax+{name}", *TRIAL, *store]]
        commands += [["plan", "--method", f"minmax,minmax+{name}", *TRIAL, *store]]
    commands += [["run", "--method", f"minmax+{name}", *TRIAL, *store] for name in AT_WORK]
    path = os.pathsep.join([str(folder), *sys.path])
    call = [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps(commands)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, ""), "no plugin ends the process or writes past us"
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for _, out, err in results:
        ledger.count("plugins", ["traceback"] if "Traceback (most recent call" in out + err else [])
    return {" ".join(command[:3]): result for command, result in zip(commands, results, strict=True)}


@pytest.fixture(scope="module")
def warnings(said):
    return said["list methods --json"][2].splitlines()


def test_built_in_methods_are_there(said):
    code, out, _ = said["list methods --json"]
    rows = {row["name"]: row["from"] for row in json.loads(out)}
    assert code == 0
    assert rows["evolq"] == "methods"
    assert {"fqvit", "minmax", "good"} <= set(rows)
    assert not {"twin", "nameless"} & set(rows)
    assert said["describe method evolq"][0] == 0
    assert "from methods" in said["describe method evolq"][1]


def test_a_good_plugin_beside_bad_ones_works(said):
    assert "from bad_good" in said["describe method good"][1]
    for method in ("minmax", "minmax+good"):
        code, _, err = said[f"run --method {method}"]
        assert (code, "error" in err) == (0, False)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_cannot_be_read_is_named_once_and_left_out(name, said, warnings):
    (line,) = [line for line in warnings if f"plugin {name} of bad_{name} (bad_{name}:Plug) is left out" in line]
    assert LEFT_OUT[name][1] in line
    rows = {row["name"]: row["from"] for row in json.loads(said["list methods --json"][1])}
    assert rows.get(name) == ("methods" if name == "evolq" else None)


def test_of_two_plugins_with_one_name_none_wins(warnings):
    lines = [line for line in warnings if "plugin twin of " in line]
    assert len(lines) == 2
    assert all("twin_one" in line and "twin_two" in line for line in lines)


def test_warnings_come_once_and_nothing_else_is_said(said, warnings):
    assert len(warnings) == len(set(warnings)) == len(LEFT_OUT) + len(["twin", "twin", "nameless"])
    assert not any("warning: plugin" in err for command, (_, _, err) in said.items() if not command.startswith("list"))
    assert not any("Traceback" in out + err for _, out, err in said.values())


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("verb", ["describe", "run", "plan"])
def test_what_fails_later_is_one_line_and_exit_code_2(verb, name, said):
    command = {"describe": f"describe method {name}", "run": f"run --method minmax+{name}"}
    code, out, err = said[command.get(verb, f"plan --method minmax,minmax+{name}")]
    if verb == "describe" and name in UNUSABLE:
        assert (code, err) == (0, ""), "its settings can be described although it cannot be set up"
        return
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert f"method '{name}' of bad_{name}" in lines[0]
    assert {**REFUSED, **UNUSABLE, **PACKAGED}[name][1] in lines[0]


@pytest.mark.parametrize("name", AT_WORK)
def test_what_fails_at_work_is_a_failed_record_and_exit_code_1(name, said):
    code, _, err = said[f"run --method minmax+{name}"]
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert AT_WORK[name][1] in line
    assert line.isprintable()
