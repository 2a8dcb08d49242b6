"""Arrays that are computed once for data that do not change: ``$XDG_CACHE_HOME/ptq-harness/reader-index/``.

The folder can be deleted at any time. A file that is broken in any way is named and made anew.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

from harness.data.content import cache_root, write_aside

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]


def kept(what: str, key: str, form: Mapping[str, tuple[str, int]], make: Callable[[], Arrays]) -> Arrays:
    """Arrays of equal length, from the cache or newly made.

    Args:
        what: Kind of content, part of the file's name.
        key: What they depend on; empty: they are made every time.
        form: Type and number of axes by name.
        make: Makes them.
    """
    if not key:
        return make()
    file = (
        cache_root()
        / "reader-index"
        / f"{what}-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
    )
    try:
        if file.is_file():
            with np.load(file, allow_pickle=False) as archive:
                return _checked({name: archive[name] for name in form}, form)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is not used: %s: %s", file, type(error).__name__, error)
    made = make()
    content = io.BytesIO()
    np.savez(content, **made)  # type: ignore[arg-type]  # its second argument is a flag of another name
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_aside(file, content.getvalue())
    except OSError as error:
        log.warning("what was read is not kept: %s", error)
    return made


def _checked(arrays: Arrays, form: Mapping[str, tuple[str, int]]) -> Arrays:
    """Refuse arrays of another form.

    Raises:
        ValueError: With the first that is wrong.
    """
    for name, (kind, axes) in form.items():
        if arrays[name].dtype.str != kind or arrays[name].ndim != axes:
            raise ValueError(f"its array {name} is {arrays[name].dtype.str} of {arrays[name].ndim} axes")
    if len({len(one) for one in arrays.values()}) != 1:
        raise ValueError("its arrays differ in length")
    return arrays
