"""The border to code of other people: whatever it raises, or that it ends the process, becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import HarnessError, IncompatibleError


@contextmanager
def guarded(what: str, hint: str = "") -> Iterator[None]:
    """Run code of a method's author; the project's own errors pass as they are.

    Args:
        what: What cannot be done if it fails, for the message.
        hint: How to mend it; may be empty.

    Raises:
        IncompatibleError: The code raised, or called ``sys.exit``; the message says what and where.
    """
    try:
        yield
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:
        raise IncompatibleError(f"{what}: {reason(error)}", hint) from error


def reason(error: BaseException) -> str:
    """An error as one line: its class where the text alone says too little, and the innermost line of code that raised."""
    if isinstance(error, SystemExit):
        text = f"it calls sys.exit({error.code!r})"
    elif isinstance(error, (ImportError, OSError, SyntaxError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return printable(text)


def printable(text: str) -> str:
    """One line without characters that steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
