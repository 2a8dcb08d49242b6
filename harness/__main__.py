"""``python -m harness`` and the command ``harness``: signals are set before anything large is imported."""

from harness.machine.at_once import end_at_once

if __name__ == "__main__":
    end_at_once()

import importlib
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    end_at_once()
    command_line = importlib.import_module("harness.cli.main")
    try:
        return int(command_line.main())
    except KeyboardInterrupt:  # once more, while the first was told of
        return 130


if __name__ == "__main__":
    sys.exit(main())
