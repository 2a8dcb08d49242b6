"""Seconds to open a folder of many images: the first time, and later in processes of their own.

``python benchmarks/open_folder.py [--files 1280000] [--evaluated 50000] [--classes 1000] [--folder PLACE]``

Makes a folder with ``train/`` (empty files: nobody reads images that are not drawn) and ``val/`` (a few bytes each,
which are hashed), opens it and removes it. "First" lists and hashes everything with an empty cache of our own; the
system's is warm, because the files were just made. "Later" is what every worker and job of a sweep pays. Imports are
not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.data.content import SETTLED_SECONDS

OPEN = """
import json, sys, time
from harness.data.sources import open_source
started, worked = time.perf_counter(), time.process_time()
source = open_source(sys.argv[1])
seconds, busy = time.perf_counter() - started, time.process_time() - worked
import resource
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([seconds, busy, memory, source.calibration_size, source.fingerprint]))
"""


def make(root: Path, files: int, evaluated: int, classes: int) -> None:
    """Class folders named by index, as evenly filled as can be."""
    for side, count in (("train", files), ("val", evaluated)):
        for index in range(classes):
            folder = root / side / str(index)
            folder.mkdir(parents=True)
            for number in range(index, count, classes):
                with open(folder / f"{side}_{number:08d}.JPEG", "wb") as file:
                    file.write(str(number).encode() if side == "val" else b"")


def opened(root: Path, cache: Path) -> tuple[str, tuple[int, str]]:
    """What a process of its own took, as text, and what it found: number of training images and fingerprint."""
    place = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", OPEN, str(root)], env=place, capture_output=True, text=True, check=True)
    seconds, busy, memory, count, fingerprint = json.loads(done.stdout)
    return f"{seconds:.2f} s, {busy:.2f} s of a processor, peak memory {memory / 2**20:,.0f} MiB", (count, fingerprint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_280_000, help="in train/ (default: %(default)s)")
    parser.add_argument("--evaluated", type=int, default=50_000, help="in val/ (default: %(default)s)")
    parser.add_argument(
        "--classes", type=int, default=1000, help="folders on each side, at most 1,000 (default: %(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=3, help="later openings (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make them (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="open-folder-", dir=arguments.folder) as place:
        root, cache = Path(place) / "images", Path(place) / "cache"
        started = time.perf_counter()
        make(root, arguments.files, arguments.evaluated, arguments.classes)
        print(
            f"made {arguments.files:,} + {arguments.evaluated:,} files in {time.perf_counter() - started:.1f} s", flush=True
        )
        time.sleep(SETTLED_SECONDS + 1)  # what was written a moment ago is not kept
        results = [opened(root, cache) for _ in range(1 + arguments.repeat)]
        assert len({found for _, found in results}) == 1, "every opening finds the same"
        for number, (text, _) in enumerate(results):
            print("later" if number else "first", text)
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        print(f"cache {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
