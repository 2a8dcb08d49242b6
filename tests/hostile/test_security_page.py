"""Every promise of docs/security.md names a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def named():
    """File and test of every reference; ``::name`` is in the file that was named last."""
    file = ""
    for text in re.findall(r"`([^`\n]+)`", PAGE):
        if text.startswith("tests/") and text.endswith(".py"):
            file = text
        match = re.fullmatch(r"(tests/\S+\.py)?(?:::)?(test_\w+)", text)
        if match and (match[1] or "::" in text or file.endswith("test_inert.py")):
            file = match[1] or file
            yield file, match[2]


def test_tests_that_the_page_names_exist():
    found = list(named())
    assert len(found) > 20
    missing = [(file, name) for file, name in found if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert missing == []
    assert all((ROOT / file).is_file() for file in re.findall(r"`(tests/[\w/]+\.py)`", PAGE))


def test_every_promise_has_one():
    promises = PAGE.partition("## What we promise")[2].partition("## What we do not")[0].split("\n\n**")[1:]
    assert len(promises) >= 10
    assert all("test_" in promise for promise in promises)
