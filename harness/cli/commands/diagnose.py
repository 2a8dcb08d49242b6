"""``harness diagnose``: what quantizing each site of a network costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json
from harness.cli.trial_options import add_trial

NOT_ASKED = ("float_layernorm", "eval_limit", "judge", "noise_floor", "corrupt")  # nothing is evaluated
HELD_OUT, WORST, MOST_WORST = 32, 8, 1000
EXAMPLES = """  harness diagnose --method fqvit                          the embedded network, w8a8
  harness diagnose --method repqvit --bits w4a4 --out diagnosis   also diagnosis.csv, .json, .svg and .png
  harness diagnose --method fqvit --model vit_tiny_patch16_224 --weights vit.safetensors --data imagenet --calib 128
the stack is applied to the calibration images without the last --held-out ones; on these each quantizer is judged:
only it acts, all others act, and by the Fisher information; no labels and no evaluation images are looked at
see also: harness describe method allocate
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    trial = parser.add_argument_group("trial (what is diagnosed)")
    how = parser.add_argument_group("how it runs")
    add_trial(trial, how, without=NOT_ASKED)
    how.add_argument(
        "--held-out",
        type=int,
        metavar="<n>",
        help=f"images to judge on (default: {HELD_OUT}, or a quarter of --calib where that has no more)",
    )
    how.add_argument("--worst", type=int, default=WORST, metavar="<n>", help=f"sites to explain (default: {WORST})")
    how.add_argument("--out", type=Path, metavar="<dir>", help="write table, JSON and picture into this folder")
    how.add_argument("--overwrite", action="store_true", help="write into a folder with other files")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_json(how)
