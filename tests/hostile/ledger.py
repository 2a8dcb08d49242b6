"""How many inputs were tried in each area, and what came of them."""

from collections import Counter

AREAS = ("verbs", "store", "data", "weights", "plugins", "grammar")
INPUTS, TRACEBACKS, OTHERS = "inputs", "tracebacks", "other complaints"
LEDGER: dict[str, Counter[str]] = {area: Counter() for area in AREAS}


def count(area: str, complaints: list[str]) -> None:
    """One input and what is wrong with the answer to it."""
    LEDGER[area][INPUTS] += 1
    if any(text.startswith("traceback") for text in complaints):
        LEDGER[area][TRACEBACKS] += 1
    elif complaints:
        LEDGER[area][OTHERS] += 1


def table() -> list[str]:
    """The ledger in lines; empty when nothing was tried."""
    if not any(LEDGER.values()):
        return []
    columns = (INPUTS, TRACEBACKS, OTHERS)
    rows = [(area, *(LEDGER[area][name] for name in columns)) for area in AREAS]
    rows.append(("all", *(sum(row[number] for row in rows) for number in (1, 2, 3))))
    return [_line(row) for row in [("area", *columns), *rows]]


def _line(row: tuple[str | int, ...]) -> str:
    return f"{row[0]:<10}" + "".join(f"{cell!s:>18}" for cell in row[1:])
