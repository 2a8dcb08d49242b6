"""``harness describe method NAME``: role, needs, settings, paper."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError, nearest
from harness.method.guard import guarded
from harness.method.registration import MethodInfo, Role
from harness.method.registry import available, load
from harness.models.cards import cards

if TYPE_CHECKING:
    from harness.method.settings import Setting

Presets = Mapping[str, Mapping[str, Any]]
Implies = Mapping[str, Mapping[Any, Mapping[str, Any]]]


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
    info = available()[arguments.name]
    with guarded(f"method {info.name!r} of {info.source} cannot be described"):
        settings, presets = settings_of(method.Config), getattr(method.Config, "PRESETS", {})
        implies = getattr(method.Config, "IMPLIES", {})
        text = (_method_as_json if arguments.json else _method_as_text)(info, settings, presets, implies)
    print(text)
    return 0


def _method_as_json(info: MethodInfo, settings: list[Setting], presets: Presets, implies: Implies) -> str:
    about = {**asdict(info), "needs": sorted(info.needs), "provides": sorted(info.provides)}
    about["excludes"] = sorted(info.excludes)
    described = {"settings": [asdict(setting) for setting in settings], "presets": presets, "implies": implies}
    return json.dumps({**about, **described}, indent=1)


def _method_as_text(info: MethodInfo, settings: list[Setting], presets: Presets, implies: Implies) -> str:
    lines = [
        f"{info.name}  ({info.role}, version {info.version}, from {info.source})\n{info.summary}",
        f"paper     {info.paper or '-'}",
        f"needs     {', '.join(sorted(info.needs)) or '-'}\nprovides  {', '.join(sorted(info.provides)) or '-'}\n"
        + (f"not with  {', '.join(sorted(info.excludes))}\n" if info.excludes else ""),
    ]
    for setting in settings:
        lines.append(f"  {setting.name} = {_plain(setting.default)}  [{setting.expected}]\n      {setting.description}")
    for name, values in presets.items():
        lines.append(f"\npreset {name}: {_written(values)}")
    for name, by in implies.items():
        lines += [f"\n{name}={_plain(value)} goes with: {_written(fixed)}" for value, fixed in by.items() if fixed]
    return "\n".join([*lines, f"\nexample   harness run --method {_example(info)}"])


def _written(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(info: MethodInfo) -> str:
    if info.role is Role.SOURCE:
        return f"fqvit --calib-source {info.name}"
    if info.leads or info.role is Role.ALLOCATE:
        return f"{info.name}+fqvit"
    return info.name if info.role is Role.SCHEME else f"fqvit+{info.name}"
