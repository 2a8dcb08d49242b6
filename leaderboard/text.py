"""Text escaped for Markdown, code, LaTeX and HTML, and numbers as tables show them.

One function for each format; the terminal's and the spreadsheet's are in ``harness/text.py``.
"""

from __future__ import annotations

import html as _html
import math
import re

from harness.text import inert

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
    "±": r"$\pm$", "≈": r"$\approx$", "\r": " ", "|": r"\textbar{}",
}  # fmt: skip


_BLANK = re.compile(r"[\n\r\t\v\f]+")
_AUTOLINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)  # GitHub makes links of bare addresses


def _one_line(text: str) -> str:
    """No line breaks, no control characters."""
    return inert(" ".join(text.split()) if _BLANK.search(text) else text)


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table or within a line: no markup, no HTML, no link, no end of the cell."""
    plain = re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", _one_line(text))
    plain = _AUTOLINK.sub(r"\\\g<0>", plain)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Text as code within a line or a table's cell; as an HTML element where backticks could not hold it."""
    plain = " ".join(inert(" ".join(text.split())).split())
    if not plain:
        return "-"
    if not re.search(r"[`|<>&\\]", plain):
        return f"`{plain}`"
    return f"<code>{markdown(plain)}</code>"


def latex(text: str) -> str:
    """Text for LaTeX: no command, no change of mode, no end of a cell or an argument."""
    return "".join(LATEX.get(character, character) for character in inert(_BLANK.sub(" ", text)))


def html(text: str) -> str:
    """Text for HTML, between tags or in a quoted attribute."""
    return _html.escape(inert(text), quote=True)


def points(value: float | None, digits: int = 2) -> str:
    """A signed difference."""
    return "-" if value is None or math.isnan(value) else f"{value:+.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if math.isnan(seconds):
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
