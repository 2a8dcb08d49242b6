"""``python -m harness`` and the command ``harness``: signals are set before anything large is imported."""

import sys

from harness.machine.signals import end_at_once, exit_code


def main() -> int:
    """Run the command line; returns the exit code."""
    end_at_once()
    from harness.cli.main import main as command_line  # not above: Ctrl-C must find the handler

    try:
        return command_line()
    except KeyboardInterrupt:  # once more, while the first was told of
        return exit_code()


if __name__ == "__main__":
    sys.exit(main())
