"""Write the tables of README.md and docs that come from the committed records and measurements.

``python -m benchmarks.pages`` writes them between their ``<!-- name -->`` and ``<!-- end -->`` lines;
``--check`` only says whether they are what the records give (exit code 1 if not).
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.pages.searches import ROOT
from benchmarks.pages.sections import PAGES, sections, written


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a page is out of date")
    check = parser.parse_args().check
    known = sections()
    stale = []
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        now = written(text, known)
        if now != text:
            stale.append(name)
            if not check:
                (ROOT / name).write_text(now, encoding="utf-8")
    print("\n".join(f"{name} {'is out of date' if check else 'is written'}" for name in stale) or "all pages are up to date")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
