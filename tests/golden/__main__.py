"""Take the golden results anew: ``python -m tests.golden``.

Prints what moved. An entry that moved is written over only when a version changed (of one of its methods, or
ID_VERSION) or ``--accept "reason"`` is given; the reason is kept in the file. On a machine that the file does not know
yet, the digests of this machine are added beside the others.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.golden import book
from tests.golden.trials import BY_NAME, Runs, tolerance_of

RAW = argparse.RawDescriptionHelpFormatter


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 when an entry that moved was left as it is."""
    parser = argparse.ArgumentParser(
        prog=book.REGENERATE, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--accept", metavar="REASON", default="", help="write over entries that moved without a new version")
    reason = parser.parse_args(arguments).accept.strip()
    golden = book.read() if book.FILE.is_file() else {}
    entries, refused = {}, []
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        for name, spec in BY_NAME.items():
            now, before = book.Entry(runs.identity(spec), runs.state(spec)), golden.get(name)
            try:
                entries[name] = book.merged(now, before, tolerance_of(name), reason)
                print(f"{_word(entries[name], before)}  {name}")
            except ValueError as moved:
                entries[name] = before
                refused.append(name)
                print(f"REFUSED  {name}: {moved}")
    gone = [name for name in golden if name not in BY_NAME]
    if gone and not reason:
        refused += gone
        entries |= {name: golden[name] for name in gone}
    for name in gone:
        print(f"{'gone' if reason else 'REFUSED'}  {name}: is no golden trial any more")
    book.write(entries)
    return _farewell(entries != golden, refused)


def _word(entry: book.Entry, before: book.Entry | None) -> str:
    if before is None:
        return "new    "
    if entry == before:
        return "same   "
    return "added  " if entry.state.digests.items() >= before.state.digests.items() else "MOVED  "


def _farewell(changed: bool, refused: list[str]) -> int:
    if changed:
        print(f"\n{book.FILE.name} is written. CHANGELOG.md must say what moved and why.")
    if refused:
        print(
            f"\n{len(refused)} entries moved and were left as they are: raise the version of the method that changed"
            ' (@register) or ID_VERSION, or give --accept "reason".'
        )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
