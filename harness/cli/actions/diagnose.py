"""``harness diagnose``: what quantizing each site of a network costs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import pandas as pd

from harness.cli.actions.listing import print_table
from harness.cli.actions.printing import plain
from harness.cli.commands.diagnose import HELD_OUT, MOST_WORST
from harness.cli.trial_options import given
from harness.engines.diagnosis import Diagnosis, diagnose
from harness.errors import UsageError
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.render.heat_strip import HeatStrip, draw
from harness.machine.terminal import terminal_progress
from harness.run.held_out import Fitted, fitted
from harness.store.csv_file import write_csv
from harness.store.store import write_json
from harness.trial.bit_rules import address_of
from harness.trial.spec import TrialSpec

FORMS = ("svg", "png")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.method is None:
        raise UsageError("expected --method <stack>", "for example: harness diagnose --method fqvit")
    if not 0 <= arguments.worst <= MOST_WORST:
        raise UsageError(f"--worst has {arguments.worst}, expected 0 to {MOST_WORST:,}")
    folder = ReportFolder(arguments.out, overwrite=arguments.overwrite) if arguments.out else None
    progress = terminal_progress(arguments.quiet)
    spec = TrialSpec(**given(arguments))
    network = fitted(spec, _held_out(spec.calib) if arguments.held_out is None else arguments.held_out, progress)
    found = diagnose(network.model, network.held, network.budget, progress, arguments.worst)
    content = {**_about(network), **plain(found.as_dict())}
    if folder is not None:
        _write(folder, content, found, network)
    if arguments.json:
        print(json.dumps(content, indent=1, allow_nan=False))
    else:
        _show(found, network)
    return 0


def _held_out(calib: int) -> int:
    """Images to judge on where nothing is asked: a quarter of them where there are no more than usually judge."""
    return HELD_OUT if calib > HELD_OUT else max(calib // 4, 1)


def _about(network: Fitted) -> dict[str, Any]:
    prepared = network.prepared
    return {
        "stack": str(prepared.stack),
        "bits": str(prepared.bits),
        "model": prepared.model.name,
        "data": prepared.spec.data_name,
        "seed": prepared.spec.seed,
        "calibrated_on": network.fitted,
    }


def _write(folder: ReportFolder, content: dict[str, Any], found: Diagnosis, network: Fitted) -> None:
    """The table of all sites, everything as JSON, and the picture."""
    folder.write("diagnosis.json", lambda path: write_json(path, content))
    folder.write("diagnosis.csv", lambda path: write_csv(pd.DataFrame(rows(found, network)), path))
    strip = _strip(found, network)
    for form in FORMS:
        folder.write(f"diagnosis.{form}", lambda path, form=form: draw(strip, path, form))  # type: ignore[misc]


def rows(found: Diagnosis, network: Fitted) -> list[dict[str, Any]]:
    """One row per site, flat."""
    return [
        {
            "site": one.site,
            "rule": as_rule(network, one.site),
            "tensors": one.tensors,
            "segment": one.segment,
            "bits": one.bits,
            "only_sqnr_db": one.only.sqnr_db,
            "only_agreement": one.only.agreement,
            "without_sqnr_db": one.without.sqnr_db,
            "without_agreement": one.without.agreement,
            "gain_db": one.gain_db,
            "fisher": one.fisher,
            "reasons": "; ".join(found.worst[one.site].words) if one.site in found.worst else "",
        }
        for one in found.sites
    ]


def _strip(found: Diagnosis, network: Fitted) -> HeatStrip:
    cells: dict[tuple[str, str], float] = {}
    for one in found.sites:
        at = (one.tensors, one.segment)
        cells[at] = max(cells.get(at, one.gain_db), one.gain_db)
    return HeatStrip(
        title=f"{network.prepared.stack}, {network.prepared.model.name}, {found.images} held-out images",
        columns=tuple(one.segment for one in found.blocks),
        rows=tuple(one.tensors for one in found.classes),
        cells=cells,
        accumulated=tuple(one.accumulated for one in found.blocks),
        own=tuple(one.own for one in found.blocks),
    )


def _show(found: Diagnosis, network: Fitted) -> None:
    about = _about(network)
    print(f"{about['stack']}  {about['bits']}  {about['model']}")
    print(f"calibrated on {about['calibrated_on']} images, judged on {found.images} others of the training side, no labels")
    print(f"all quantizers: SQNR {found.whole.sqnr_db:.1f} dB, agreement {found.whole.agreement:.1f} %\n")
    print_table([_class_row(asdict(one)) for one in found.classes])
    print()
    print_table(
        [
            {"error after": one.segment, "accumulated dB": f"{one.accumulated:.1f}", "its own dB": f"{one.own:.1f}"}
            for one in found.blocks
        ]
    )
    print()
    known = {one.site: one for one in found.sites}
    print("worst sites, named as --bits takes them: which cost most alone and whose leaving out gives most, by turns")
    print_table([_site_row(asdict(known[name]), as_rule(network, name)) for name in found.worst])
    for name, facts in found.worst.items():
        why = "; ".join(facts.words) or "nothing stands out"
        print(f"{as_rule(network, name)}: its own SQNR is {facts.sqnr_db:.1f} dB: {why}")
    print(f"\nverdict  {found.verdict()}")
    spent = ", ".join(f"{name.replace('_', ' ')} {count:g}" for name, count in found.forward_passes.items() if count)
    print(f"cost     {sum(found.forward_passes.values()):.1f} forward passes of the held-out images ({spent})")


def _class_row(one: dict[str, Any]) -> dict[str, str]:
    return {"quantized tensors": one["tensors"], "sites": str(one["sites"]), **_distances(one)}


def as_rule(network: Fitted, name: str) -> str:
    """A site as a rule of ``--bits`` that is about it alone: ``blocks.0:add`` would be about every sum there."""
    return address_of(network.model.sites[name]) if ":" in name else name


def _site_row(one: dict[str, Any], site: str) -> dict[str, str]:
    return {"site": site, "bits": str(one["bits"]), **_distances(one), "Fisher": f"{one['fisher']:.2e}"}


def _distances(one: dict[str, Any]) -> dict[str, str]:
    return {
        "only these dB": f"{one['only']['sqnr_db']:.1f}",
        "agreement %": f"{one['only']['agreement']:.1f}",
        "all others dB": f"{one['without']['sqnr_db']:.1f}",
        "agreement, others %": f"{one['without']['agreement']:.1f}",
        "gain dB": f"{one['gain_db']:+.2f}",
    }
