"""How good label-free recommendations are: three questions a network, each beside the best of the portfolio in hindsight.

``python -m benchmarks.recommended`` asks for the embedded network; ``--model NAME --weights FILE --data FOLDER`` for another
one. Then every recipe of the portfolio is run with all calibration images and evaluated with labels, which no recommendation
saw. Lines are appended to ``benchmarks/recommended.csv``; ``python -m benchmarks.pages`` writes them into docs/recommend.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages.lines import append
from harness.machine.progress import Progress
from harness.recommend.advise import Advice, Adviser, Question
from harness.recommend.choice import ALIKE, preferred
from harness.recommend.limits import Limits
from harness.recommend.portfolio import Candidate, read_portfolio
from harness.run.run_trial import run_trial
from harness.run.session import Session
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import TrialSpec

CSV = Path(__file__).resolve().parent / "recommended.csv"
JUDGES = 500
COLUMNS = (
    *("network", "limits", "recipes", "image_forwards", "stack", "bits", "bytes", "expected_drop", "drop"),
    *("best_stack", "best_bits", "best_bytes", "best_drop", "rank", "admissible"),
)
Row = dict[str, Any]


def questions(full_precision_bytes: int) -> list[tuple[str, Limits]]:
    """Three kinds of limits: a loss, a size, and a runtime together with a size.

    Args:
        full_precision_bytes: Of the network; sizes are shares of it.
    """
    sixth, bytes_each = full_precision_bytes // 6, round(full_precision_bytes / 3.5)
    return [
        ("at most 1 point lost", Limits(drop=1.0)),
        ("at most a sixth of the bytes", Limits(size=sixth)),
        ("ONNX, at most 1 / 3.5 of the bytes", Limits(size=bytes_each, target="onnx")),
    ]


def hindsight(candidates: Sequence[Candidate], spec: TrialSpec, store: Store) -> dict[Candidate, Record]:
    """Every recipe on the evaluation side, with all calibration images; those that cannot be run are left out."""
    session, progress, found = Session(), Progress(), {}
    for one in candidates:
        asked = dataclasses.replace(spec, method=one.stack, bits=one.bits)
        record = run_trial(asked, store, progress, session=session).record
        if record["status"] == "done":
            found[one] = record
    return found


def drop_of(record: Record) -> float:
    """Points of top-1 that were lost on the evaluation images."""
    return record["metrics"]["top1_fp32"] - record["metrics"]["top1"]


def ranked(advice: Advice, known: Mapping[Candidate, Record]) -> list[Candidate]:
    """Recipes that keep to the limits as measured with labels, the best first by what was preferred."""
    limits, prefer = advice.question.limits, advice.question.prefer
    refused = {one.candidate for one in advice.outcomes if one.reason.startswith("not for ")}
    fit = {
        one: record
        for one, record in known.items()
        if one not in refused and not limits.never(record) and (limits.drop is None or drop_of(record) <= limits.drop)
    }
    if prefer == "accuracy":
        return sorted(fit, key=lambda one: (drop_of(fit[one]), fit[one]["size_bytes"]))
    ordered = sorted(fit, key=lambda one: fit[one]["size_bytes"])
    classes: dict[Candidate, int] = {}
    first, number = 0, 0
    for one in ordered:
        size = fit[one]["size_bytes"]
        if size > ALIKE * first:
            first, number = size, number + 1
        classes[one] = number
    return sorted(ordered, key=lambda one: (classes[one], drop_of(fit[one])))


def line(network: str, name: str, advice: Advice, known: Mapping[Candidate, Record]) -> Row:
    """What was recommended, and what would have been with labels."""
    order = ranked(advice, known)
    row: Row = {"network": network, "limits": name, "recipes": len(advice.outcomes), "image_forwards": round(advice.passes)}
    row |= {"admissible": len(order)}
    if advice.best is not None:
        chosen, record = advice.best.candidate, known[advice.best.candidate]
        judged = advice.best.record
        assert judged is not None
        row |= {"stack": chosen.stack, "bits": chosen.bits, "bytes": record["size_bytes"], "drop": round(drop_of(record), 3)}
        row |= {"expected_drop": round(judged["expected_drop"]["value"], 3)}
        row |= {"rank": order.index(chosen) + 1 if chosen in order else ""}
    if order:
        best = known[order[0]]
        row |= {"best_stack": order[0].stack, "best_bits": order[0].bits, "best_bytes": best["size_bytes"]}
        row |= {"best_drop": round(drop_of(best), 3)}
    return row


def main() -> None:
    """Ask, look back, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--calib", type=int, default=256)
    parser.add_argument("--store", type=Path, default=Path("runs/recommended"))
    parser.add_argument("--only", default="", help="questions whose limits have this word: lost, sixth, ONNX")
    parser.add_argument("--csv", type=Path, default=CSV)
    given = parser.parse_args()
    store, candidates = Store(given.store), read_portfolio(None)
    spec = TrialSpec("minmax", model=given.model, weights=given.weights, data=given.data, calib=given.calib)
    known = hindsight(candidates, spec, store)
    whole = next(iter(known.values()))["size_bytes_fp32"]
    for name, limits in (one for one in questions(whole) if given.only in one[0]):
        question = Question(spec, limits, preferred(limits), JUDGES, evaluate=False)
        advice = Adviser(question, store, Progress()).advise(candidates)
        row = line(given.model, name, advice, known)
        append(given.csv, COLUMNS, row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
