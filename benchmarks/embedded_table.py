"""The README's table: the ladder of stacks on the embedded network, three bit-widths, three seeds.

``python benchmarks/embedded_table.py --store DIR`` runs what is missing in the store (45 trials, about 20 minutes on two
cores) and prints the table. Nothing is timed against a bound; times are in the records.
"""

from __future__ import annotations

import argparse

from harness.progress import LineProgress
from harness.spec import TrialSpec
from harness.store import Store
from harness.table import table
from harness.trial import run_trial
from leaderboard.tables import markdown

LADDER = ("fp32", "fqvit", "fqvit+omse", "fqvit+omse+biascorr", "fqvit+omse+biascorr+evolq")
BITS = ("w8a8", "w4a8", "w3a8")
SEEDS = (0, 1, 2)


def main() -> None:
    """Run the grid and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="folder of the records")
    parser.add_argument("--calib", type=int, default=256, help="calibration images (default: 256)")
    store, progress = Store.default(parser.parse_args().store), LineProgress()
    records = []
    for seed in SEEDS:
        for bits in BITS:
            for stack in LADDER:
                spec = TrialSpec(method=stack, bits=bits, seed=seed, calib=parser.parse_args().calib)
                record, cached = run_trial(spec, store)
                progress.say(f"{record['id']} {stack} {bits} seed {seed}: {record['status']}{' (stored)' if cached else ''}")
                records.append(record)
    print(markdown(table(records)))


if __name__ == "__main__":
    main()
