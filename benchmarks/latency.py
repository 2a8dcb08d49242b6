"""Placement decides speed: every placement of quantizers as files, timed beside the float32 model, in one table.

For each placement a trial is run (or taken from the store), exported, let through the gate, and timed on one core in
interleaved rounds with the float32 model of the same network. The measurements stay with the records, so that
``harness report --cost latency,disk_bytes`` shows them. Bit-operations stand beside, to see that they rank otherwise.

``python benchmarks/latency.py --store runs/placement --model deit_tiny_patch16_224 --weights deit_tiny.safetensors
--data imagenet --eval-limit 60`` (the table of the placements; minutes)
``python benchmarks/latency.py --store runs/placement`` (the embedded network; below a minute)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness.cli.actions.export import LIBRARIES, paired
from harness.deploy.latency import Asked, measure
from harness.deploy.runtime import needing
from harness.errors import HarnessError
from harness.machine.progress import Progress
from harness.run.run_trial import run_trial
from harness.store.latencies import save_latency
from harness.store.store import Store
from harness.trial.latency import Latency
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

STACKS = ("minmax(sites=values)", "minmax(sites=operands)", "minmax(sites=deploy)")
RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}
FIGURES = ("speed-up", "95 %", "SQNR, dB", "top-1, %", "simulated", "MB", "integer MACs, %", "bit-operations, G")
HEADERS = ("stack", "runtime", *FIGURES, "note")


def rows_of(spec: TrialSpec, store: Store, asked: Asked, folder: Path) -> Iterator[list[str]]:
    """A row for each batch size of one stack in one runtime, or why there is none."""
    record = run_trial(spec, store).record
    if record["status"] != "done":
        yield _none(spec, asked, f"failed: {record['error']['message']}")
        return
    export: Any = needing(LIBRARIES, "export", "harness.deploy.export")
    float_model: Any = needing(LIBRARIES, "export", "harness.deploy.float_model")
    out, float32 = folder / "exported", folder / "float32.onnx"
    wanted = export.Wanted(record["id"], spec, RUNTIMES[asked.runtime], out, threads=asked.threads)
    try:
        manifest = export.export(store, wanted, paired(export), Progress())
        float_model.write_float32(record, float32, spec.weights)
        found = measure(out / manifest["file"], float32, record["id"], asked)
    except HarnessError as error:
        yield _none(spec, asked, f"not exported: {error}")
        return
    save_latency(store, found)
    yield from shown(spec.method, record, manifest["gate"], found)


def _none(spec: TrialSpec, asked: Asked, why: str) -> list[str]:
    return [spec.method, asked.runtime, *["-"] * len(FIGURES), why]


def shown(stack: str, record: Record, gate: dict[str, Any], found: Latency) -> Iterator[list[str]]:
    """The figures of one file, by batch size."""
    for one in found["batches"]:
        yield [
            f"{stack}, batch {one['batch']}",
            found["runtime"],
            f"{1 / one['ratio']:.2f}",
            f"{1 / one['high']:.2f} to {1 / one['low']:.2f}",
            "equal" if gate["sqnr_db"] is None else f"{gate['sqnr_db']:.1f}",
            f"{gate['top1']:.1f}",
            f"{gate['top1_simulated']:.1f}",
            f"{found['quantized']['bytes'] / 1e6:.2f} of {found['float32']['bytes'] / 1e6:.2f}",
            f"{100 * gate['integer_macs']:.1f}",
            f"{record['bit_operations'] / 1e9:.1f}",
            "busy machine" if found["quiet"] is False else "",
        ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="folder of the records")
    parser.add_argument("--stacks", nargs="+", default=STACKS, help="default: %(default)s")
    parser.add_argument("--bits", default="w8a8", help="default: w8a8")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=["onnxruntime"], help="default: onnxruntime")
    parser.add_argument("--model", default="embedded", help="default: embedded")
    parser.add_argument("--weights", type=Path, help="its weights (default: embedded, or timm's)")
    parser.add_argument("--data", default="embedded", help="default: embedded")
    parser.add_argument("--calib", type=int, default=64, help="calibration images (default: 64)")
    parser.add_argument("--eval-limit", type=int, help="evaluation images (default: all)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="images a run (default: 1)")
    parser.add_argument("--rounds", type=int, default=40, help="default: 40")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    arguments = parser.parse_args()
    common = {name: getattr(arguments, name) for name in ("bits", "model", "weights", "data", "calib", "eval_limit")}
    rows: list[list[str]] = []
    for runtime in arguments.runtimes:
        asked = Asked(runtime, arguments.threads, tuple(arguments.batch), arguments.rounds)
        for stack in arguments.stacks:
            print(f"{runtime}: {stack}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                rows += rows_of(TrialSpec(stack, **common), Store.default(arguments.store), asked, Path(folder))
    print(tabulate(rows, headers=HEADERS, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
