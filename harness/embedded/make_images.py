"""Build ``images.npz``: 2,000 training images for calibration (no labels) and the 10,000 test images with labels.

``python -m harness.embedded.make_images --out images.npz``. The calibration images are a plain random draw (seed 0),
because methods see no labels: a class-balanced draw would use them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from harness.embedded.train import DEBIAN_FOLDER, read_idx

CALIBRATION_IMAGES = 2000


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, help="folder of the four .gz files")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args(argv)
    train = read_idx(arguments.data, "train-images-idx3-ubyte.gz").numpy()
    index = np.random.default_rng(0).choice(len(train), CALIBRATION_IMAGES, replace=False)
    np.savez_compressed(
        arguments.out,
        calibration_images=train[index],
        calibration_index=index.astype(np.int32),
        evaluation_images=read_idx(arguments.data, "t10k-images-idx3-ubyte.gz").numpy(),
        evaluation_labels=read_idx(arguments.data, "t10k-labels-idx1-ubyte.gz").numpy(),
    )


if __name__ == "__main__":
    main()
