"""The folder of an analysis: pictures, the numbers behind them, a page that shows both, and what was looked at as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from harness.analysis.style import write_figure
from harness.errors import UsageError
from harness.store.analyses import INDEX
from harness.store.csv_file import write_csv
from harness.store.store import write_aside
from harness.text import inert

FACTS = "analysis.json"  # marks a folder as one that an analysis wrote


@dataclass(frozen=True)
class Shown:
    """One part of the page.

    Attributes:
        title: Heading.
        words: What it shows and how to read it.
        pictures: Names of SVG files.
        tables: Names of CSV files.
    """

    title: str
    words: str
    pictures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


@dataclass
class Output:
    """Writes into the folder of one analysis.

    Args:
        folder: New, empty, or of an earlier analysis.

    Raises:
        UsageError: It has other files, or cannot be made.
    """

    folder: Path
    parts: list[Shown] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [path.name for path in islice(self.folder.iterdir(), 3)]
        except OSError as error:
            raise UsageError(f"folder {str(self.folder)!r} cannot be written: {error.strerror}") from error
        if others and not (self.folder / FACTS).is_file():
            raise UsageError(
                f"folder {str(self.folder)!r} has files that no analysis wrote: {', '.join(map(repr, sorted(others)))}",
                "give a new or empty folder with --out",
            )
        self._json({"unfinished": True})

    def picture(self, name: str, figure: Figure) -> str:
        """Write a picture as SVG and PNG; returns the name of the first."""
        return write_figure(figure, name, self._file)[0].name

    def table(self, name: str, rows: pd.DataFrame) -> str:
        """Write numbers as CSV; returns the file's name."""
        return self._file(f"{name}.csv", lambda path: write_csv(rows, path)).name

    def finish(self, title: str, facts: Mapping[str, Any]) -> Path:
        """Write the page and the facts; returns the page."""
        listed = [{"title": one.title, "pictures": one.pictures, "tables": one.tables} for one in self.parts]
        self._json({**facts, "parts": listed})
        text = _page(title, self.parts, facts)
        return self._file(INDEX, lambda path: path.write_text(text, encoding="utf-8"))

    def _json(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, indent=1, allow_nan=False) + "\n"
        self._file(FACTS, lambda path: path.write_text(text, encoding="utf-8"))

    def _file(self, name: str, fill: Callable[[Path], Any]) -> Path:
        path = self.folder / name
        write_aside(path, fill)
        return path


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
    "img{max-width:100%;border:1px solid #ddd;margin:.3rem 0}"
    "dt{font-weight:600}dd{margin:0 0 .3rem}pre{white-space:pre-wrap}"
)


def _page(title: str, parts: list[Shown], facts: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title><style>{STYLE}</style></head><body>',
            f"<h1>{_text(title)}</h1>",
            *(line for one in parts for line in _section(one)),
            f"<h2>How it was made</h2><dl>{''.join(_fact(name, value) for name, value in facts.items())}</dl>",
            f'<p><a href="{FACTS}">{FACTS}</a></p></body></html>',
            "",
        ]
    )


def _section(one: Shown) -> Iterator[str]:
    yield f"<h2>{_text(one.title)}</h2><p>{_text(one.words)}</p>"
    for name in one.pictures:
        png = name.removesuffix(".svg") + ".png"
        yield f'<p><img src="{_text(name)}" alt="{_text(one.title)}"><br><a href="{_text(png)}">PNG</a></p>'
    if one.tables:
        links = ", ".join(f'<a href="{_text(name)}">{_text(name)}</a>' for name in one.tables)
        yield f"<p>Numbers: {links}</p>"


def _fact(name: str, value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    return f"<dt>{_text(name.replace('_', ' '))}</dt><dd>{_text(shown)}</dd>"


def _text(text: str) -> str:
    return html.escape(inert(text))
