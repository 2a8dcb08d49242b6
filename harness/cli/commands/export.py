"""``harness export``: a finished trial as a file that a runtime computes with integers."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness export 3f9c --out deployed                        ONNX, checked in ONNX Runtime
  harness export 3f9c --out deployed --int4                 4-bit weights in half a byte each
  harness export 3f9c --target openvino --out deployed
  harness export 3f9c --out deployed --float-layernorm      integer LayerNorms as float ones: a new record
  harness export 3f9c --out deployed --data imagenet        where its images are now
exit code 0: exported; 1: no integer form, or the runtime computes something else (nothing is written)
"""
TARGETS = ("onnx", "openvino")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("trial", metavar="<trial>", help="id or its beginning")
    parser.add_argument("--out", type=Path, required=True, metavar="<folder>", help="new folder for file and manifest.json")
    parser.add_argument(
        "--target", choices=TARGETS, default="onnx", metavar="{onnx,openvino}", help="for which runtime (default: onnx)"
    )
    parser.add_argument(
        "--int4", action="store_true", help="store weights of 4 bits in 4 (default: in 8, for integer kernels)"
    )
    parser.add_argument(
        "--float-layernorm",
        action="store_true",
        help="integer LayerNorms become float ones: an altered network, evaluated and exported as a new record",
    )
    parser.add_argument("--data", metavar="<path>", help="where its images are here (default: where they were)")
    parser.add_argument("--classes", metavar="<file>", help="its class file here (default: where it was)")
    parser.add_argument("--weights", type=Path, metavar="<file>", help="its weights here (default: where they were)")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="<n>", help="of the runtime while it is checked (default: 1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
