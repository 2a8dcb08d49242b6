"""BibTeX of what a board rests on: this project, the papers of the methods, networks and images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pandas as pd

from harness import __version__
from harness.leaderboard.text import latex
from harness.method.registry import available
from harness.trial.spec import EMBEDDED

# The form in which methods name their papers: "Lin et al., Title, Venue 2022"; a preprint by its number.
_BEGIN = r"(?P<author>[A-Z][\w-]+)(?P<others> et al\.)?, (?P<title>.+), "
PAPER = re.compile(_BEGIN + r"(?P<venue>[^,]*?) ?(?P<year>(?:19|20)\d\d)(?![\d.])")
PREPRINT = re.compile(_BEGIN + r"(?P<venue>arXiv) (?P<number>(?P<yy>\d\d)\d\d\.\d{4,5})")
NETWORKS = "Wightman, PyTorch Image Models, GitHub 2019"
FASHION = "Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, arXiv 1708.07747"
IMAGENET = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"


def bibtex(rows: pd.DataFrame) -> str:
    """The entries for the records of a report, each once.

    Args:
        rows: Rows of the table of records.
    """
    methods = {step["name"] for text in rows["methods"] for step in json.loads(text)}
    sources = {text.partition("(")[0] for text in rows["calib_source"]}
    known = available()
    papers = [known[name].paper for name in sorted(methods | sources) if name in known]
    images = [FASHION if name == EMBEDDED else IMAGENET for name in sorted(set(rows["data"]))]
    entries = dict(entry for text in [*papers, NETWORKS, *images] for entry in _entries(text))
    return "\n\n".join([_project(rows), *(entries[key] for key in sorted(entries))])


def _project(rows: pd.DataFrame) -> str:
    commits = sorted({commit[:12] for commit in rows["commit"].dropna()})
    note = f"version {__version__}" + (f", commits {', '.join(commits[:3])}" if commits else "")
    title = "{ptq-harness: post-training quantization of vision models}"
    return _entry("misc", "ptqharness", {"author": "{The ptq-harness maintainers}", "title": title, "note": note})


def _entries(papers: str) -> Iterator[tuple[str, str]]:
    """Key and entry of every paper that a method's text names; one in another form is kept as a note."""
    for number, text in enumerate(map(str.strip, papers.split(";"))):
        text = text.removeprefix("empirical: ")
        found = PREPRINT.match(text) or PAPER.match(text)
        if found is not None:
            key, fields = _fields(found)
            yield key, _entry("misc" if "eprint" in fields else "inproceedings", key, fields)
        elif text and (not number or text[0].isupper()):  # else a remark on the paper before
            key = re.sub(r"[^a-z0-9]", "", text.lower())[:20] or "unnamed"
            yield key, _entry("misc", key, {"note": _plain(text)})


def _fields(found: re.Match[str]) -> tuple[str, dict[str, str]]:
    parts = found.groupdict()
    year = parts.get("year") or f"20{parts['yy']}"
    word = re.sub(r"[^a-z0-9]", "", parts["title"].partition(" ")[0].lower())
    author = f"{parts['author']} and others" if parts["others"] else parts["author"]
    fields = {"author": author, "title": f"{{{_plain(parts['title'])}}}", "year": year}
    if "number" in parts:
        fields |= {"eprint": parts["number"], "archiveprefix": "arXiv"}
    elif parts["venue"]:
        fields["booktitle"] = _plain(parts["venue"])
    return f"{parts['author'].lower()}{year}{word}", fields


def _plain(text: str) -> str:
    """Text within the braces of a field: BibTeX counts braces even behind a backslash."""
    return latex(text.replace("{", "(").replace("}", ")"))


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}"
