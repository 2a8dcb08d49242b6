"""Parquet files by open handles: the library's own way of opening takes no name that is not Unicode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(path: Path) -> pd.DataFrame:
    """A table.

    Raises:
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    with path.open("rb") as file:
        return pd.read_parquet(file)


def write_parquet(path: Path, rows: pd.DataFrame, about: Mapping[bytes, bytes] | None = None) -> None:
    """Write a table, with texts about it in its head.

    Raises:
        OSError: It cannot be written.
    """
    content = pa.Table.from_pandas(rows, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), **(about or {})})
    with path.open("wb") as file:
        pq.write_table(content, file)


def about_parquet(path: Path) -> Mapping[bytes, bytes]:
    """The texts in the head of a file.

    Raises:
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    with path.open("rb") as file:
        return pq.read_schema(file).metadata or {}


def columns_of(path: Path, names: Sequence[str]) -> dict[str, list[object]]:
    """Some columns as lists.

    Raises:
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    with path.open("rb") as file:
        found: dict[str, list[object]] = pq.read_table(file, columns=list(names)).to_pydict()
    return found
