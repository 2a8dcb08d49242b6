"""From the options of ``harness recommend`` to the facts of its answer."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from harness.cli.actions.advice_files import facts_of, write
from harness.cli.trial_options import given
from harness.data.sets import check_count
from harness.data.sources import open_judged
from harness.leaderboard.render.folder import ReportFolder
from harness.machine.progress import Progress
from harness.recommend.advise import Adviser, Question
from harness.recommend.choice import preferred
from harness.recommend.limits import Limits
from harness.recommend.portfolio import listed, read_portfolio
from harness.store.store import Store
from harness.trial.spec import DATA, HELD_OUT, TrialSpec

ANY = "minmax"  # stands for the stack until there is one


def facts(arguments: argparse.Namespace, limits: Limits, store: Store, progress: Progress) -> dict[str, Any]:
    """Ask, and write what ``--out`` asks for.

    Raises:
        UsageError: Something in what was asked is not as expected; no trial was run.
    """
    candidates = read_portfolio(arguments.portfolio, listed(arguments.widths))
    folder = ReportFolder(arguments.out, overwrite=arguments.overwrite) if arguments.out else None
    prefer = arguments.prefer or preferred(limits)
    spec = _spec(arguments, progress)
    question = Question(spec, limits, prefer, arguments.judges, evaluate=not arguments.no_evaluation)
    answer = Adviser(question, store, progress).advise(candidates)
    found = facts_of(answer, store)
    if folder is not None:
        found["files"] = [str(path) for path in write(answer, found, store, folder)]
    return found


def _spec(arguments: argparse.Namespace, progress: Progress) -> TrialSpec:
    """The trial that all candidates have in common; as many calibration images as usual, or as there are.

    Raises:
        UsageError: Data or numbers are not as expected.
    """
    spec = TrialSpec(method=ANY, **given(arguments))
    source = open_judged(dataclasses.replace(spec, judge=HELD_OUT), progress.say)
    if spec.calib_source != DATA:  # made, as many as are asked for
        return spec
    if arguments.calib is None:
        return dataclasses.replace(spec, calib=min(spec.calib, source.calibration_size))
    check_count(source.calibration_size, spec.calib, f"two thirds of {source.name}")
    return spec
