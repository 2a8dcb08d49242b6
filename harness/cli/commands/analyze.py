"""``harness analyze``: pictures of a finished trial."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.commands.options import add_json, add_store

EXAMPLES = """  harness analyze 3f9c                                all parts, into <store>/analyses/<id>/
  harness analyze 3f9c --what landscape --points 41 --plane 31
  harness analyze 3f9c --what landscape --scope attention_weights   the scales that evolq's release moves
  harness analyze 3f9c --what attention --image 0,7,12 --blocks 0,5,11
  harness analyze 3f9c --what curves                  from records alone, also imported ones
  harness analyze 3f9c --images 16 --points 9 --plane 0   a large network
harness report --out <dir> copies what is in the store beside its page, which links it
no evaluation image or label is read: images are of the calibration side
"""
PARTS = ("landscape", "distributions", "attention", "curves")
SCOPES = ("block", "block_weights", "attention_weights")
MOST_POINTS, MOST_IMAGES = 1001, 10_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("trial", metavar="<trial>", help="id of a finished trial or its beginning")
    parser.add_argument("--what", default=",".join(PARTS), metavar="<list>", help=f"any of {','.join(PARTS)} (default: all)")
    parser.add_argument("--out", type=Path, metavar="<folder>", help="instead of the store's folder of the trial")
    parser.add_argument("--images", type=int, default=64, metavar="<n>", help="of each side (default: 64)")
    parser.add_argument(
        "--blocks", metavar="<list>", help="blocks in pictures: all, or numbers (default: first, middle, last)"
    )
    parser.add_argument(
        "--image", default="0,1,2", metavar="<list>", help="held-out images with attention maps (default: 0,1,2)"
    )
    parser.add_argument(
        "--scope",
        choices=SCOPES,
        default=SCOPES[0],
        metavar="<scales>",
        help=f"moved together: {', '.join(SCOPES)} (default: first)",
    )
    parser.add_argument(
        "--reach", type=float, default=0.1, metavar="<share>", help="of each scale, at the ends (default: 0.1)"
    )
    parser.add_argument("--points", type=int, default=21, metavar="<n>", help="along a line (default: 21)")
    parser.add_argument(
        "--plane", type=int, default=15, metavar="<n>", help="along a side of the plane; 0: none (default: 15)"
    )
    parser.add_argument("--directions", type=int, default=3, metavar="<n>", help="random ones per block (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="<n>", help="of the random directions (default: 0)")
    parser.add_argument("--data", metavar="<path>", help="where its images are here (default: where they were)")
    parser.add_argument("--weights", type=Path, metavar="<file>", help="its weights here (default: where they were)")
    parser.add_argument("--device", metavar="<name>", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_store(parser)
    add_json(parser)
