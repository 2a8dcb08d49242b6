"""One set of decoded images in the cache, as plans tell of it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeptImages:
    """One set of decoded images.

    Attributes:
        path: Its file.
        nbytes: Of the file.
        there: It was decoded before.
    """

    path: str
    nbytes: int
    there: bool
