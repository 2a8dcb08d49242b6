"""``harness latency``: how long an exported file takes beside its float32 model."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness latency 1a2b3c                              a trial: exported for this, float32 and quantized in turn
  harness latency exported/model.onnx                 a file with its manifest.json beside it
  harness latency exported/model.onnx --runtime openvino --batch 1 --threads 2
  harness latency mine.onnx --float theirs.onnx       any two files of one network; kept nowhere
the measurement is kept beside the trial's record; harness report shows it
"""
RUNTIMES = ("onnxruntime", "openvino")
MOST_ROUNDS, MOST_BATCH, MOST_THREADS = 100_000, 4096, 1024


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("what", metavar="<file or trial>", help="an exported .onnx file, or the id of a finished trial")
    parser.add_argument("--float", type=Path, metavar="<file>", dest="float32", help="its float32 model (default: made)")
    parser.add_argument("--runtime", default=RUNTIMES[0], metavar="<name>", help=f"{' or '.join(RUNTIMES)} (default: first)")
    parser.add_argument("--threads", type=int, default=1, metavar="<n>", help="cores to keep it on (default: 1)")
    parser.add_argument("--batch", default="1,32", metavar="<list>", help="images a run (default: 1,32)")
    parser.add_argument("--rounds", type=int, default=40, metavar="<n>", help="pairs of samples that count (default: 40)")
    parser.add_argument("--warm-up", type=int, default=5, metavar="<n>", help="pairs of runs before (default: 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="<n>", help="draws images and order (default: 0)")
    parser.add_argument("--data", metavar="<path>", help="images of the trial, for its export (default: where they were)")
    parser.add_argument("--weights", type=Path, metavar="<file>", help="its weights (default: embedded or timm's)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
