"""``harness analyze``: pictures of a finished trial."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from harness.analysis.landscape import Wanted
from harness.analysis.output import FACTS, Output
from harness.analysis.study import Asked, Study
from harness.analysis.subject import open_subject
from harness.cli.actions.report import known
from harness.cli.actions.run import repeated
from harness.cli.commands.analyze import MOST_IMAGES, MOST_POINTS, PARTS
from harness.errors import UsageError
from harness.machine.terminal import terminal_progress
from harness.store.analyses import analysis_folder
from harness.store.store import Store


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    asked = _asked(arguments)
    store = Store.default(arguments.store)
    record = store.find(arguments.trial)
    names = ("data", "weights", "device")
    spec = repeated(record, {name: value for name in names if (value := getattr(arguments, name)) is not None})
    images = _whole(arguments.images, "--images", 2, MOST_IMAGES)
    opened = partial(open_subject, store, record, spec, images)
    study = Study(store, record, opened, asked, terminal_progress(arguments.quiet))
    page = study.run(Output(arguments.out or analysis_folder(store, record["id"])))
    _show(page, as_json=arguments.json)
    return 0


def _asked(arguments: argparse.Namespace) -> Asked:
    """What to look at, within bounds.

    Raises:
        UsageError: A number or name is not possible.
    """
    if not 0 < arguments.reach < 1:
        raise UsageError(f"--reach {arguments.reach:g} is not possible: expected a share of each scale between 0 and 1")
    wanted = Wanted(
        reach=arguments.reach,
        points=_whole(arguments.points, "--points", 3, MOST_POINTS),
        plane=_whole(arguments.plane, "--plane", 0, MOST_POINTS),
        directions=_whole(arguments.directions, "--directions", 1, MOST_POINTS),
        scope=arguments.scope,
        seed=_whole(arguments.seed, "--seed", 0, 2**63 - 1),
    )
    try:
        maps = [int(part) for part in arguments.image.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--image {arguments.image!r} not understood: expected numbers such as 0,7,12") from None
    return Asked(known(arguments.what, PARTS, "part"), arguments.blocks, list(dict.fromkeys(maps)), wanted)


def _whole(value: int, flag: str, least: int, most: int) -> int:
    if not least <= value <= most:
        raise UsageError(f"{flag} {value} is not possible: expected {least:,} to {most:,}")
    return value


def _show(page: Path, *, as_json: bool) -> None:
    facts = json.loads((page.parent / FACTS).read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps({**facts, "page": str(page)}, indent=1))
        return
    for part in facts["parts"]:
        for name in (*part["pictures"], *part["tables"]):
            print(page.parent / name)
    print(page)
