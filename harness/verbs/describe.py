"""``harness describe method NAME``: role, needs, settings, paper."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from harness.verbs.options import add_json, new_verb

EXAMPLES = """  harness describe method evolq
  harness describe method fqvit --json
"""


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = new_verb(verbs, "describe", "Describe a method and its settings.", EXAMPLES)
    parser.add_argument("what", choices=("method",), metavar="method")
    parser.add_argument("name", metavar="<name>")
    add_json(parser)
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from harness.registry import load
    from harness.settings import settings_of

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
    return name if role == "scheme" else f"fqvit+{name}"
