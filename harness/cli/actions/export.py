"""``harness export``: a finished trial as a file that a runtime computes with integers."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from harness.cli.actions.run import repeated
from harness.deploy.runtime import needing
from harness.errors import HarnessError, IncompatibleError
from harness.leaderboard.stats.difference import difference
from harness.machine import streams
from harness.machine.terminal import terminal_progress
from harness.store.store import Store

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 when the trial cannot be exported."""
    store = Store.default(arguments.store)
    stored = store.find(arguments.trial)
    changes = {name: value for name in ("data", "classes", "weights") if (value := getattr(arguments, name)) is not None}
    spec = repeated(stored, changes)
    made: Any = needing(LIBRARIES, "export", "harness.deploy.export")
    wanted = made.Wanted(
        stored["id"],
        spec,
        arguments.target,
        arguments.out,
        arguments.int4,
        arguments.float_layernorm,
        arguments.threads,
    )
    try:
        manifest = made.export(store, wanted, paired(made), terminal_progress(arguments.quiet))
    except (IncompatibleError, made.NotExported) as error:
        return _refused(error, as_json=arguments.json)
    if arguments.json:
        print(json.dumps(manifest, indent=1))
    else:
        _show(manifest, arguments)
    return 0


def _refused(error: HarnessError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"exported": False, "kind": error.kind, "reason": error.message, "hint": error.hint}, indent=1))
    streams.say(f"error: {error}")
    return 1


def paired(made: Any) -> Any:
    """The rule of every other verdict, for one trial on the same images."""

    def rule(first: np.ndarray, second: np.ndarray) -> Any:
        found = difference(first[None], second[None]).interval
        return made.Interval(found.value, found.low, found.high)

    return rule


def _show(manifest: dict[str, Any], arguments: argparse.Namespace) -> None:
    gate = manifest["gate"]
    if manifest["altered_from"] is not None:
        print(f"record   {manifest['record']}, new: {', '.join(manifest['altered'])} in trial {manifest['altered_from']}")
    print(f"file     {arguments.out / manifest['file']}, {gate['bytes']:,} bytes, opset {manifest['opset']}")
    change = gate["difference"]
    print(
        f"top-1    {gate['top1']:.2f} % in {gate['runtime']}, {gate['top1_simulated']:.2f} % simulated, "
        f"{gate['top1_fp32']:.2f} % full precision, {gate['images']:,} images"
    )
    print(f"         difference to the simulation {change['value']:+.2f} ({change['low']:+.2f} to {change['high']:+.2f})")
    print(f"SQNR     {_db(gate['sqnr_db'])} to full precision, {_db(gate['sqnr_db_simulated'])} simulated")
    worst = gate["parity"]["worst"]
    if worst is not None:
        print(
            f"parity   {gate['parity']['products']} products on equal codes: at most {worst['farthest']} code, "
            f"{100 * worst['differing']:.4f} % of elements ({worst['site']})"
        )
    print(
        f"integer  {100 * gate['integer_macs']:.1f} % of multiply-accumulates, "
        f"{100 * gate['integer_macs_of_layers']:.1f} % of those of linear operations and convolutions"
    )
    print(f"kernels  {', '.join(f'{count} {kind}' for kind, count in gate['kernels'].items())}")


def _db(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"
