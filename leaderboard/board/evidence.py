"""What lies beside records: per-image results, read when they are needed, and measurements of latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from harness.errors import UsageError
from harness.leaderboard.board.latencies import Latencies
from harness.leaderboard.board.quality import class_rows
from harness.leaderboard.stats.difference import Estimate, estimate
from harness.leaderboard.stats.inference import accuracy
from harness.store.analyses import analysed
from harness.store.store import Store


class Evidence:
    """Per-image correctness from a store, and latencies.

    Args:
        store: The store.
        rows: Rows of its records, which say how many images each has.
        latencies: Measurements of latency, chosen for a report.

    Attributes:
        latencies: The same.
    """

    def __init__(self, store: Store, rows: pd.DataFrame, latencies: Latencies | None = None) -> None:
        self.latencies = latencies or Latencies()
        self._store = store
        self._counts = dict(zip(rows["id"], rows["n_images"], strict=True))
        self._right = dict(zip(rows["id"], rows["n_correct"], strict=True))
        self._one = lru_cache(maxsize=4096)(self._read)
        self._wilson = lru_cache(maxsize=4096)(accuracy)

    def correct(self, ids: Sequence[str]) -> np.ndarray | None:
        """Correctness of several records, boolean ``(records, images)``; None when a record has none or sizes differ."""
        found = [self._one(trial) for trial in ids]
        if not found or any(one is None or one.shape != found[0].shape for one in found if found[0] is not None):
            return None
        present = [one for one in found if one is not None]
        return np.stack(present) if len(present) == len(found) else None

    def analyses(self, ids: Sequence[str]) -> dict[str, list[Path]]:
        """Files of the pictures that ``harness analyze`` made of some records, by id."""
        return analysed(self._store, ids)

    def classes(self, ids: Sequence[str]) -> pd.DataFrame:
        """What happened to each class, see ``harness.leaderboard.board.quality.class_rows``."""
        return class_rows(self._store, ids)

    def accuracy(self, ids: Sequence[str]) -> Estimate:
        """Accuracy of one stack over images and seeds with its interval.

        Without per-image results it is Wilson's interval from the mean count of one seed's images.

        Args:
            ids: Done records of a stack, one per seed.
        """
        correct = self.correct(ids)
        if correct is not None and correct.shape[1] > 1:
            return estimate(correct)
        right = round(float(np.mean([int(self._right[trial]) for trial in ids])))
        return Estimate(self._wilson(right, int(self._counts[ids[0]])), math.nan, None, len(ids))

    def _read(self, trial: str) -> np.ndarray | None:
        count = self._counts.get(trial)
        if count is None or pd.isna(count):
            return None
        try:
            found: np.ndarray = self._store.correct(trial, int(count))[0]
        except (UsageError, OSError, ValueError, IndexError):
            return None
        return found
