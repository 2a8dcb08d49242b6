"""The facts of an answer of ``harness recommend``, its table and its picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.leaderboard.render.figures import pareto_figure, save
from harness.leaderboard.render.folder import ReportFolder
from harness.leaderboard.stats.difference import difference
from harness.leaderboard.stats.pareto import Point, standings
from harness.recommend.advise import Advice
from harness.recommend.choice import finalists
from harness.recommend.halving import Outcome
from harness.recommend.limits import seconds_of
from harness.recommend.portfolio import Candidate
from harness.store.store import Store
from harness.trial.record import Record
from harness.trial.spec import repeating

COLUMNS = ("stack", "bits", "calib", "size_bytes", "seconds", "sqnr_db", "agreement", "expected_drop", "id", "reason")
PICTURE = "recommend"


def facts_of(answer: Advice, store: Store) -> dict[str, Any]:
    """The answer as plain JSON values."""
    question = answer.question
    tried = {one.candidate: _tried(one, answer) for one in answer.outcomes}
    limits = question.limits
    return {
        "model": question.spec.model,
        "data": question.spec.data_name,
        "limits": {"drop": limits.drop, "bytes": limits.size, "seconds": limits.seconds, "target": limits.target},
        "prefer": question.prefer,
        "judges": _judges(answer),
        "image_forwards": round(answer.passes, 1),
        "tried": list(tried.values()),
        "recommended": tried[answer.best.candidate] if answer.best else None,
        "nearest": tried[answer.nearest.candidate] if answer.nearest else None,
        "front": [tried[one.candidate] for one in answer.front],
        "evaluated": [
            *(_evaluated(candidate, record, store) for candidate, record in answer.evaluated.items()),
            *(_unevaluated(candidate, reason) for candidate, reason in answer.unevaluated.items()),
        ],
    }


def _judges(answer: Advice) -> int:
    counts = [one.record["metrics"]["n_images"] for one in answer.outcomes if one.record and "metrics" in one.record]
    return max(counts, default=0)


def _tried(one: Outcome, answer: Advice) -> dict[str, Any]:
    record, done = one.record, one.done
    end = done is not None and not one.reason
    return {
        "stack": one.candidate.stack,
        "bits": one.candidate.bits,
        "calib": one.calib,
        "size_bytes": done["size_bytes"] if done else None,
        "seconds": seconds_of(done) if done else None,
        "sqnr_db": done["metrics"]["logit_sqnr_db"] if done else None,
        "agreement": done["metrics"]["agreement"] if done else None,
        "expected_drop": done.get("expected_drop") if done else None,
        "id": record["id"] if record else None,
        "command": _command(one, answer),
        "reason": one.reason,
        "broken": answer.question.limits.broken(done) if end and done else [],
    }


def _command(one: Outcome, answer: Advice) -> str:
    """What quantizes with all calibration images of the data and evaluates."""
    evaluated = answer.evaluated.get(one.candidate)
    if evaluated is not None:
        return repeating(evaluated["command"])
    return answer.question.command(one.candidate)


def _evaluated(candidate: Candidate, record: Record, store: Store) -> dict[str, Any]:
    named = {"stack": candidate.stack, "bits": candidate.bits, "id": record["id"], "status": record["status"]}
    if record["status"] != "done":
        return {**named, "reason": " ".join(record["error"]["message"].split())}
    metrics, correct = record["metrics"], store.correct(record["id"])
    found = difference(correct[1][None], correct[0][None]).interval
    return {
        **named,
        "top1": metrics["top1"],
        "top1_fp32": metrics["top1_fp32"],
        "n_images": metrics["n_images"],
        "difference": {"value": found.value, "low": found.low, "high": found.high},
        "expected_drop": record.get("expected_drop"),
    }


def _unevaluated(candidate: Candidate, reason: str) -> dict[str, Any]:
    return {"stack": candidate.stack, "bits": candidate.bits, "id": None, "status": "not run", "reason": reason}


def write(answer: Advice, facts: Mapping[str, Any], store: Store, into: ReportFolder) -> list[Path]:
    """Table and picture of an answer and its facts."""
    table = into.write(f"{PICTURE}.csv", lambda path: _write_csv(path, facts["tried"]))
    shown = finalists(answer.outcomes)
    if not shown:
        return [table]
    points = [_point(one, store) for one in shown]
    places = [(one.candidate.bits, place) for one, place in zip(shown, standings(points), strict=True)]
    title = f"{answer.question.spec.model}: agreement on {facts['judges']} held-out images"
    figure = pareto_figure(title, places, "size_bytes", "", 100.0)
    figure.axes[0].set_ylabel("agreement with full precision, %")
    return [table, *save(figure, PICTURE, into, ("svg", "png"))]


def _point(one: Outcome, store: Store) -> Point:
    assert one.record is not None
    record = one.record
    correct = store.correct(record["id"])[0].astype(float)
    return Point(one.candidate.stack, (float(record["size_bytes"]),), (record["metrics"]["top1"],), correct)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            drop = row["expected_drop"]
            writer.writerow({**row, "expected_drop": None if drop is None else drop["value"]})
