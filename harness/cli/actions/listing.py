"""``harness list``: methods, models, data. Reads source text and a small table; imports no method and no torch."""

from __future__ import annotations

import argparse
import json

from harness.errors import UsageError
from harness.method.registration import MethodInfo
from harness.method.registry import available
from harness.models.cards import cards

DATA = (
    {"name": "embedded", "about": "Fashion-MNIST: 2,000 training images for calibration, 10,000 test images; offline"},
    {"name": "photos", "about": "500 photographs of ImageNet's classes: 100 for calibration, 400 for evaluation; offline"},
    {"name": "<path>", "about": "folder with train/ and val/, each with one folder per class"},
    {"name": "<path>", "about": "one folder per class: split by a hash of the file name, one image in five calibrates"},
)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.timm and arguments.what != "models":
        raise UsageError(f"--timm lists models, not {arguments.what}: expected harness list models --timm '<pattern>'")
    if arguments.tested and arguments.what != "models":
        raise UsageError(f"--tested lists models, not {arguments.what}: expected harness list models --tested")
    rows = _rows(arguments)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print_table(rows)
    return 0


def _rows(arguments: argparse.Namespace) -> list[dict[str, str]]:
    if arguments.timm:
        return _timm(arguments.timm)
    if arguments.tested:
        return _tested()
    return {"methods": _methods, "models": _models, "data": _data}[str(arguments.what)]()


def _methods() -> list[dict[str, str]]:
    return [
        {"name": i.name, "role": str(i.role), "from": _origin(i), "about": i.summary, "paper": i.paper}
        for i in available().values()
    ]


def _origin(info: MethodInfo) -> str:
    return f"{info.source}, needs [{info.extra}]" if info.extra else info.source


def _models() -> list[dict[str, str]]:
    return [
        {"name": c.name, "family": c.family, "fp32 top-1": f"{c.anchor.top1:.2f}" if c.anchor else "-", "about": c.about}
        for c in cards().values()
    ]


def _tested() -> list[dict[str, str]]:
    return [
        {
            "name": card.name,
            "tested": card.tested,
            "blocks": str(card.expected.blocks),
            "weights": str(card.expected.weights),
            "values": str(card.expected.values),
            "power-of-two": str(card.expected.power_of_two),
            "image": "quantized" if card.expected.image else "float",
        }
        for card in cards().values()
    ]


def _data() -> list[dict[str, str]]:
    return list(DATA)


def _timm(pattern: str) -> list[dict[str, str]]:
    import timm  # loads torch

    names = timm.list_models(pattern, pretrained=True)
    if not names:
        raise UsageError(f"no model of timm matches {pattern!r}: expected a pattern such as 'deit*'")
    return [{"name": name} for name in names]


def print_table(rows: list[dict[str, str]]) -> None:
    """Print rows in aligned columns; ``paper`` is left to ``describe``."""
    columns = [column for column in (rows[0] if rows else {}) if column != "paper"]
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in columns}
    for row in [{column: column for column in columns}, *rows]:
        print("  ".join(row[column].ljust(widths[column]) for column in columns).rstrip())
