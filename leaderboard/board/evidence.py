"""Per-image results of records, read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from harness.errors import UsageError
from harness.store.store import Store


class Evidence:
    """Per-image correctness from a store.

    Args:
        store: The store.
        rows: Rows of its records, which say how many images each has.
    """

    def __init__(self, store: Store, rows: pd.DataFrame) -> None:
        self._store = store
        self._counts = dict(zip(rows["id"], rows["n_images"], strict=True))
        self._one = lru_cache(maxsize=4096)(self._read)

    def correct(self, ids: Sequence[str]) -> np.ndarray | None:
        """Correctness of several records, boolean ``(records, images)``; None when a record has none or sizes differ."""
        found = [self._one(trial) for trial in ids]
        if not found or any(one is None or one.shape != found[0].shape for one in found if found[0] is not None):
            return None
        present = [one for one in found if one is not None]
        return np.stack(present) if len(present) == len(found) else None

    def _read(self, trial: str) -> np.ndarray | None:
        count = self._counts.get(trial)
        if count is None or pd.isna(count):
            return None
        try:
            found: np.ndarray = self._store.correct(trial, int(count))[0]
        except (UsageError, OSError, ValueError, IndexError):
            return None
        return found
