"""Names in tables: as short as they can be, and never the same for two different things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def told_apart(names: Sequence[str], parts: Sequence[Mapping[str, str]]) -> list[str]:
    """Each name; where several are equal, with those of their parts in parentheses that it takes to tell them apart.

    Args:
        names: What they are called.
        parts: What else is known of each, the most telling first; all have the same keys.
    """
    shared = {name: [place for place, other in enumerate(names) if other == name] for name in names}
    return [_label(name, place, shared[name], parts) for place, name in enumerate(names)]


def _label(name: str, place: int, equals: Sequence[int], parts: Sequence[Mapping[str, str]]) -> str:
    """A part is taken if it tells this one apart from others that the parts before it did not."""
    alike, taken = list(equals), []
    for key, value in parts[place].items():
        still = [other for other in alike if parts[other][key] == value]
        taken += [value] if len(still) < len(alike) else []
        alike = still
    return f"{name} ({', '.join(taken)})" if taken else name
