"""What is imported when: the command line starts without heavy libraries, and imports stand at the top of files."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

from harness.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "timm", "pandas", "pydantic", "numpy", "rich", "hydra"}
MOST_INSIDE = 15  # imports inside functions, each of something optional or so heavy that what does not need it must not wait
LISTS = [["list", "methods"], ["list", "models"], ["list", "data"], ["list", "models", "--tested"]]
HELPS = [[name, "--help"] for name in COMMANDS] + [["store", action, "--help"] for action in ("check", "export", "import")]
LIGHT = [
    [],
    ["--help"],
    ["--version"],
    *HELPS,
    *LISTS,
    [*LISTS[0], "--json"],
    ["describe", "model", "deit_tiny_patch16_224"],
]


def loaded(commands):
    """Run command lines one after the other in one process, until one has loaded something heavy."""
    code = f"""
        import contextlib, os, sys
        from harness.cli.main import main
        for words in {commands!r}:
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(open(os.devnull, "w")):
                assert main(words) == 0, words
            heavy = sorted({HEAVY!r} & set(sys.modules))
            if heavy:
                sys.exit(f"{{words}} loads {{heavy}}")
    """
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)


def test_help_and_lists_load_nothing_heavy():
    result = loaded(LIGHT)
    assert result.returncode == 0, result.stderr


def test_the_watch_for_heavy_modules_sees_them(tmp_path):
    assert "numpy" in loaded([["status", "--store", str(tmp_path)]]).stderr


def sources():
    """All files of the package; methods, baselines and leaderboard are links in it."""
    folders = [ROOT / name for name in ("harness", "methods", "baselines", "leaderboard")]
    return sorted({path.resolve() for folder in folders for path in folder.rglob("*.py")})


def inside(path):
    """Lines with imports inside functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, functions))
    imports = (inner for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom))
    return {inner.lineno for inner in imports}


def test_imports_stand_at_the_top_of_files():
    found = [f"{path.relative_to(ROOT)}:{line}" for path in sources() for line in sorted(inside(path))]
    assert len(found) <= MOST_INSIDE, "\n".join(found)
