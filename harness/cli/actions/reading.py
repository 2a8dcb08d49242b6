"""The store of a command that only reads records."""

from __future__ import annotations

from harness.errors import UsageError
from harness.store.store import Store

START = "start with: harness run --method fqvit"


def store_to_read(named: str | None) -> Store:
    """The store of ``--store``, which must be there, or the default one, which need not be there yet.

    Raises:
        UsageError: There is no such folder.
    """
    store = Store.default(named)
    if named is not None and not store.root.exists():
        raise UsageError(f"there is no folder {str(store.root)!r}", "give the folder of the records with --store")
    return store
