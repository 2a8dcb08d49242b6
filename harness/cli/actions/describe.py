"""``harness describe method NAME``: role, needs, settings, paper."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from harness.errors import UsageError, nearest
from harness.method.registry import load
from harness.models.cards import cards


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return _model(arguments) if arguments.what == "model" else _method(arguments)


def _model(arguments: argparse.Namespace) -> int:
    matches = [card for name, card in cards().items() if name == arguments.name or name.startswith(f"{arguments.name}.")]
    if not matches:
        arches = [name.partition(".")[0] for name in cards()]
        raise UsageError(f"no card for {arguments.name!r}.{nearest(arguments.name, arches)}", "see: harness list models")
    card = matches[0]
    if arguments.json:
        print(json.dumps(asdict(card), indent=1))
        return 0
    expected = card.expected
    print(f"{card.name}  ({card.family}{', ' + card.paper_name if card.paper_name else ''})\n{card.about}")
    print(f"blocks         {expected.blocks}, module paths ending with {card.blocks}")
    print(
        f"sites          {expected.weights} weights, {expected.values} values ({expected.power_of_two} with PTF), ", end=""
    )
    print(f"image {'quantized' if expected.image else 'in floating point'} under fqvit")
    paper = ", ".join(f"{key}={value}" for key, value in card.paper_preprocessing.items())
    print(f"preprocessing  timm's{'; recipe=paper: ' + paper if paper else ', also in the papers'}")
    if card.anchor is not None:
        print(f"full precision {card.anchor.top1:.2f} % on {card.anchor.images:,} images ({card.anchor.source})")
    print(f"tested         {card.tested}\n\nexample        harness run --method fqvit --model {card.name}")
    return 0


def _method(arguments: argparse.Namespace) -> int:
    from harness.method.settings import settings_of  # loads pydantic, which a model's description does not need

    method = load(arguments.name)
    info, settings = method.info, settings_of(method.Config)
    presets: dict[str, dict[str, Any]] = getattr(method.Config, "PRESETS", {})
    if arguments.json:
        about = {**asdict(info), "needs": sorted(info.needs), "provides": sorted(info.provides)}
        print(json.dumps({**about, "settings": [asdict(s) for s in settings], "presets": presets}, indent=1))
        return 0
    print(f"{info.name}  ({info.role}, version {info.version}, from {info.source})\n{info.summary}")
    print(f"paper     {info.paper or '-'}")
    print(f"needs     {', '.join(sorted(info.needs)) or '-'}\nprovides  {', '.join(sorted(info.provides)) or '-'}\n")
    for setting in settings:
        print(f"  {setting.name} = {_plain(setting.default)}  [{setting.type}]\n      {setting.description}")
    for name, values in presets.items():
        print(f"\npreset {name}: " + ", ".join(f"{key}={_plain(value)}" for key, value in values.items()))
    print(f"\nexample   harness run --method {_example(info.name, str(info.role))}")
    return 0


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(name: str, role: str) -> str:
    if role == "source":
        return f"fqvit --calib-source {name}"
    return name if role == "scheme" else f"fqvit+{name}"
