"""``harness recommend``: which recipe keeps to some limits, found without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store
from harness.cli.trial_options import add_trial

TARGETS = ("onnx", "openvino")
PREFERENCES = ("size", "accuracy")
JUDGES = 500
# Candidates, or what a choice does not need.
NOT_ASKED = ("method", "bits", "judge", "task", "corrupt", "noise_floor", "float_layernorm")
EXAMPLES = """  harness recommend --max-drop 1                      the smallest recipe that loses at most a point
  harness recommend --max-bytes 800KB --target onnx   the most accurate one that small that a runtime computes
  harness recommend --model deit_tiny_patch16_224 --data /path/to/imagenet --max-drop 1 --max-seconds 600
  harness recommend --bits w8a8,w4a8 --portfolio mine.yaml --out advice
candidates compete on held-out calibration images, without labels; the evaluation images are opened once, at the end, for the
recommended recipe and the front. Every trial is an ordinary record: harness run --judge held_out repeats one
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-drop", type=float, metavar="<points>", help="of top-1 that may be lost, as expected")
    limits.add_argument("--max-bytes", metavar="<size>", help="of the network: 450KB (1,000 bytes), 3MB, 2.5MiB, 700000")
    limits.add_argument("--max-seconds", type=float, metavar="<s>", help="that quantizing may take here")
    limits.add_argument("--target", metavar="<name>", help=f"it must be possible to export for: {' or '.join(TARGETS)}")
    limits.add_argument(
        "--prefer",
        choices=PREFERENCES,
        metavar="<what>",
        help="size or accuracy, within the limits (default: size if only a drop is bounded)",
    )
    add_trial(parser.add_argument_group("trials"), parser.add_argument_group("how they run"), without=NOT_ASKED)
    tried = parser.add_argument_group("candidates")
    tried.add_argument(
        "--portfolio", type=Path, metavar="<file>", help="recipes that are tried (default: the built-in ones)"
    )
    tried.add_argument("--bits", dest="widths", metavar="<widths,...>", help="instead of those of the portfolio")
    tried.add_argument("--judges", type=int, default=JUDGES, metavar="<n>", help=f"held-out images (default: {JUDGES})")
    tried.add_argument("--no-evaluation", action="store_true", help="leave the evaluation images alone")
    parser.add_argument("--out", type=Path, metavar="<folder>", help="write a picture and a table of what was tried")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder with other files")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
