"""Text escaped for Markdown, code and LaTeX, and numbers as tables show them."""

from __future__ import annotations

import math

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
    "±": r"$\pm$", "≈": r"$\approx$", "\r": " ", "|": r"\textbar{}",
}  # fmt: skip


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table."""
    plain = " ".join(text.split()) if any(character in text for character in "\n\r\t\v\f") else text
    for character in "\\`*_[]|":
        plain = plain.replace(character, "\\" + character)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Text as code in a Markdown table cell."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "\\|").replace("<", "&lt;")
    return f"`{plain}`" if plain else "-"


def latex(text: str) -> str:
    """Text for LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


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
