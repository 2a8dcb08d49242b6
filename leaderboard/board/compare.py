"""Two trials, stacks or sets of records against each other: is the difference real?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.errors import UsageError, nearest
from harness.leaderboard.board.evidence import Evidence
from harness.leaderboard.stats.difference import Difference, Estimate, difference, estimate
from harness.leaderboard.stats.inference import accuracy
from harness.method.stack import check
from harness.text import split_outside
from harness.trial.spec import calibrated

SETTING = [
    "model",
    "weights_sha256",
    "data",
    "data_fingerprint",
    "preprocessing",
    "n_images",
    "bits",
    "calib",
    "calib_source",
]
WORDS = {"better": "the second is better", "worse": "the first is better", "equal": "no difference on any image"}


@dataclass(frozen=True)
class Pair:
    """Two results on the same images.

    Attributes:
        setting: What they have in common, as text.
        ids: Records of the first and of the second, by common seed.
        seeds: The seeds.
        first: Accuracy of the first over images and seeds; over the images of one seed without per-image results.
        second: Of the second.
        difference: Second minus first; None without per-image results.
        verdict: The conclusion in words.
    """

    setting: str
    ids: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    first: Estimate
    second: Estimate
    difference: Difference | None
    verdict: str


def select(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Done records by id (or its beginning), stack, or ``column=value`` filters joined by commas outside parentheses.

    Raises:
        UsageError: Nothing matches.
    """
    done = rows[rows["status"] == "done"]
    found = done[done["stack"] == _canonical(what)]
    if not len(found) and what.isalnum():
        found = done[done["id"].str.startswith(what)]
    if not len(found) and "=" in what.partition("(")[0]:
        found = _filtered(done, what)
    if not len(found):
        known = sorted(set(map(str, done["stack"])))
        raise UsageError(
            f"no done record matches {what!r}.{nearest(what, known)} Expected an id, a stack ({', '.join(known[:6])}, ...) "
            "or filters such as stack=fqvit,bits=w4a8"
        )
    return found


def _canonical(what: str) -> str:
    try:
        return str(check(what))
    except UsageError:
        return what


def _filtered(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    for part in map(str.strip, split_outside(what)):
        column, _, value = part.partition("=")
        if column not in rows:
            raise UsageError(f"unknown column {column!r}.{nearest(column, map(str, rows.columns))}")
        wanted = _canonical(value) if column == "stack" else value
        rows = rows[rows[column].astype(str) == wanted]
    return rows


def compare(first: pd.DataFrame, second: pd.DataFrame, evidence: Evidence) -> list[Pair]:
    """Compare wherever both have records of the same setting; several of a setting are paired by seed.

    Raises:
        UsageError: They have no setting in common.
    """
    pairs = []
    for setting, one in _by_setting(first).items():
        other = _by_setting(second).get(setting)
        if other is None:
            continue
        if len(one) == len(other) == 1:  # two single trials may have different seeds
            pairs.append(_pair(setting, one, other, evidence))
            continue
        seeds = [seed for seed in one["seed"].unique() if seed in set(other["seed"])]
        if seeds:
            pairs.append(_pair(setting, _of_seeds(one, seeds), _of_seeds(other, seeds), evidence))
    if not pairs:
        raise UsageError(
            "the two have no setting in common: expected records on the same model, data, bits, calibration size and images"
        )
    return pairs


def _by_setting(rows: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    texts = rows[SETTING].astype(str)
    return {tuple(map(str, key)): rows.loc[part.index] for key, part in texts.groupby(SETTING)}


def _of_seeds(rows: pd.DataFrame, seeds: Sequence[object]) -> pd.DataFrame:
    kept = rows[rows["seed"].isin(seeds)].sort_values("seed")
    if kept["seed"].duplicated().any():
        stacks = ", ".join(sorted(set(map(str, kept["stack"]))))
        raise UsageError(f"several records with the same seed: {stacks}", "name one stack or trial")
    return kept


def _pair(setting: tuple[str, ...], one: pd.DataFrame, other: pd.DataFrame, evidence: Evidence) -> Pair:
    values = dict(zip(SETTING, setting, strict=True))
    about = f"{values['model']}, {values['bits']}, {values['data']}, {calibrated(values['calib'], values['calib_source'])}"
    first, second = evidence.correct(list(one["id"])), evidence.correct(list(other["id"]))
    found = difference(first, second) if first is not None and second is not None and first.shape == second.shape else None
    return Pair(
        setting=about,
        ids=tuple(zip(one["id"], other["id"], strict=True)),
        seeds=tuple(int(seed) for seed in one["seed"]),
        first=_accuracy(one, first),
        second=_accuracy(other, second),
        difference=found,
        verdict=_verdict(found),
    )


def _accuracy(rows: pd.DataFrame, correct: np.ndarray | None) -> Estimate:
    """Accuracy with its interval; from the mean count of one seed's images where there are no per-image results."""
    if correct is not None and correct.shape[1] > 1:
        return estimate(correct)
    found = accuracy(round(float(rows["n_correct"].mean())), int(rows["n_images"].iloc[0]))
    return Estimate(found, math.nan, None, len(rows))


def _verdict(found: Difference | None) -> str:
    """The rule of ``stats.difference`` in words."""
    if found is None:
        return "unknown: no per-image results of the same images"
    alone = " (one seed: says nothing about other calibration draws)" if found.seeds < 2 and found.discordant else ""
    return WORDS.get(found.verdict, found.verdict) + alone
