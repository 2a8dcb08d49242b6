"""The store under load: many processes writing at once, and a report over many records.

``python benchmarks/store_load.py`` writes 10,000 synthetic records with 8 processes and looks for each of them, then makes
100,000 records and reports on them, first parsing every file and then from the cache. Prints seconds, peak memory and the
ratio of the two reports. ``--records`` and ``--report`` change the sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from harness.store.store import Store
from harness.trial.record import SCHEMA_VERSION, Record

STACKS = ("fqvit", "fqvit+omse", "fqvit+omse+biascorr", "fqvit+omse+biascorr+evolq")
BITS = ("w8a8", "w4a8", "w3a8")


def synthetic(number: int) -> Record:
    """A made-up record with the shape of a real one; its numbers mean nothing."""
    stack = STACKS[number % len(STACKS)]
    correct = 7000 + number * 37 % 2000
    stages = [
        {
            "name": name,
            "seconds": 1.5,
            "forward_passes": 1.0,
            "image_forwards": 256.0,
            "peak_memory_bytes": 10**9,
            "notes": {},
        }
        for name in ("capture", "load calibration images", *stack.split("+"), "evaluate")
    ]
    coverage = [
        {"tensors": f"class {index}", "total": 24, "quantized": 24, "bits": [8], "granularity": ["per tensor"]}
        for index in range(12)
    ]
    metrics = {"top1": correct / 100, "top5": 99.0, "top1_fp32": 91.0, "top5_fp32": 99.0, "agreement": 95.0}
    metrics |= {"logit_sqnr_db": 20.0, "logit_mse": 0.1, "n_images": 10_000, "n_correct": correct, "n_correct_fp32": 9100}
    return Record(
        schema_version=SCHEMA_VERSION,
        id=f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}",
        status="done",
        model=f"synthetic_{number // 12 % 20}",
        data={"name": "synthetic", "fingerprint": "0" * 64, "eval_limit": None},
        bits=BITS[number // 4 % len(BITS)],
        stack=stack,
        calib=256,
        seed=number // 240,
        protocol="strict",
        metrics=metrics,
        on_grid=True,
        off_grid_sites=[],
        coverage=coverage,
        size_bytes=10**6,
        size_bytes_fp32=4 * 10**6,
        bit_operations=10**9,
        bit_operations_fp32=10**11,
        stages=stages,
        seconds=10.0,
        weights={"sha256": "0" * 64, "source": "none"},
        spec={"stack": [{"name": name, "version": 1, "config": {}} for name in stack.split("+")]},
        command="harness run --method fqvit",
        environment={"device": "cpu", "versions": {"torch": "0", "timm": "0"}, "commit": "0" * 40},
        created="2026-01-01T00:00:00+00:00",
    )


def write(root: Path, numbers: range) -> int:
    """Save records as a worker would."""
    store = Store(root)
    for number in numbers:
        store.save(synthetic(number))
    return len(numbers)


def write_plainly(root: Path, numbers: range) -> int:
    """The same files without the care of a store, to make many quickly."""
    store = Store(root)
    for number in numbers:
        record = synthetic(number)
        folder = store.folder(record["id"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(numbers)


def report(root: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of ``harness report`` in a process of its own."""
    code = "import resource, sys; from harness.cli.main import main; main(['report', '--store', sys.argv[1]]);"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, int(result.stderr.split()[-1]) / 1000


def main() -> None:
    """Write, count, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000, help="records written at once (default: 10,000)")
    parser.add_argument("--processes", type=int, default=8, help="writing processes (default: 8)")
    parser.add_argument("--report", type=int, default=100_000, help="records to report on (default: 100,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(given.processes) as pool:
        root = Path(folder) / "written"
        started = time.perf_counter()
        parts = [range(first, given.records, given.processes) for first in range(given.processes)]
        written = sum(pool.map(write, [root] * len(parts), parts))
        seconds = time.perf_counter() - started
        found = {record["id"]: record for record in Store(root).records()}
        lost = sum(found.get(synthetic(number)["id"]) != synthetic(number) for number in range(given.records))
        broken = len(Store(root).broken())
        print(f"{given.processes} processes wrote {written} records in {seconds:.1f} s: {lost} lost, {broken} broken")
        many = Path(folder) / "many"
        chunks = [range(first, min(first + 1000, given.report)) for first in range(0, given.report, 1000)]
        print(f"made {sum(pool.map(write_plainly, [many] * len(chunks), chunks))} records to report on")
        cold, cold_memory = report(many)
        warm, warm_memory = report(many)
        print(f"report, every file parsed: {cold:.1f} s, {cold_memory:.0f} MB")
        print(f"report, from the cache:    {warm:.1f} s, {warm_memory:.0f} MB ({cold / warm:.1f} times faster)")


if __name__ == "__main__":
    main()
