"""The one way to find methods: by name, without importing any of them before it is needed.

A method is a class decorated with ``@register(...)`` in a module of the folders ``methods`` or ``baselines``, or behind
an entry point of the group ``harness.methods`` (entry-point name = method name, value ``module:Class``). Listing reads
the decorator from the source text (``source.py``), so that ``harness list`` needs no torch and runs no code of others.

Built-in methods always win: a plugin that is broken, or whose name is taken, is named on standard error and left out.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, IncompatibleError, UsageError, nearest
from harness.method.guard import guarded, printable, reason
from harness.method.registration import MethodInfo, Role, owner_of
from harness.method.source import infos_of_file, source_file

log = logging.getLogger(__name__)

GROUP = "harness.methods"
MOST_ENTRIES = 300  # of one distribution
PACKAGES = ("harness.methods", "harness.baselines")


def available() -> dict[str, MethodInfo]:
    """Every known method by name, sorted by role and name; none of them is imported.

    The folders and the installed packages are read once per process, and again when ``sys.path`` has changed.

    Raises:
        HarnessError: The folder of the built-in methods is missing, or two of them have the same name.
    """
    return dict(_scanned(PACKAGES, tuple(sys.path))[0])


@lru_cache(maxsize=1)
def _scanned(packages: tuple[str, ...], _path: tuple[str, ...]) -> tuple[dict[str, MethodInfo], frozenset[str]]:
    """The methods, and the names of the plugins that were left out."""
    found = _distinct(info for package in packages for info in _infos_of_package(package))
    plugins, left_out = _plugins(found)
    found |= plugins
    order = list(Role)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].role), item[0]))), left_out


def _distinct(infos: Iterable[MethodInfo]) -> dict[str, MethodInfo]:
    found: dict[str, MethodInfo] = {}
    for info in infos:
        other = found.setdefault(info.name, info)
        if other is not info:
            raise HarnessError(f"two methods are called {info.name!r}: {other.target} and {info.target}", "rename one")
    return found


def load(name: str) -> type[Any]:
    """Import the class of a method or calibration source.

    Raises:
        UsageError: There is no such method; the message names the nearest ones.
        IncompatibleError: Its module, or what its class should have, is broken or missing.
    """
    known = available()
    if name not in known:
        raise UsageError(unknown_method(name, known))
    info = known[name]
    module, _, attribute = info.target.partition(":")
    extra = f"it needs an optional extra: pip install 'ptq-harness[{info.extra}]'"
    hint = extra if info.extra else f"for the traceback: python -c 'import {module}'"
    with guarded(f"method {name!r} of {info.source} cannot be imported", hint):
        cls: type[Any] = getattr(importlib.import_module(module), attribute)
    if not dataclasses.is_dataclass(getattr(cls, "Config", None)):
        raise IncompatibleError(f"method {name!r} of {info.source} has no dataclass Config: {info.target} needs one")
    return cls


def unknown_method(name: str, known: dict[str, MethodInfo]) -> str:
    """The message for a name that no method has."""
    if name in _scanned(PACKAGES, tuple(sys.path))[1]:
        return f"unknown method {name!r}: a plugin of that name is installed but left out, see the warning"
    return f"unknown method {name!r}.{nearest(name, known)} Available: {', '.join(known)} (see: harness list methods)"


def _infos_of_package(package: str) -> Iterator[MethodInfo]:
    """The methods of a folder of built-in ones; a broken file is named and left out.

    Raises:
        HarnessError: There is no such folder.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        parent, _, folder = package.rpartition(".")
        raise HarnessError(
            f"the package {package} is missing: in a checkout {parent}/{folder} is a symbolic link to ../{folder}, and this "
            "copy of the code has lost it",
            f"make it again (ln -s ../{folder} {parent}/{folder}), clone again with git, or install the wheel",
        )
    for location in spec.submodule_search_locations:
        for file in sorted(Path(location).glob("*.py")):
            if not file.name.startswith("_"):
                module = f"{package}.{file.stem}"
                try:
                    yield from list(infos_of_file(file, module, owner_of(package)))
                except Exception as error:  # a mistake in one file must not take the other methods away
                    _left_out(module, reason(error))


def _plugins(built_in: dict[str, MethodInfo]) -> tuple[dict[str, MethodInfo], frozenset[str]]:
    """The methods of other packages, and names that were left out.

    Of two with one name none is taken, because nobody could tell which one runs.
    """
    candidates: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for entry in _entries():
        candidates[entry.name].setdefault(entry.value, entry)
    found: dict[str, MethodInfo] = {}
    for name, entries in candidates.items():
        for entry in entries.values():
            others = [_owner(other) for other in entries.values() if other is not entry]
            if name in built_in:
                _left_out(_title(entry), f"{name!r} is the name of a built-in method ({built_in[name].target})")
            elif others:
                _left_out(_title(entry), f"{' and '.join(others)} registers {name!r} too: uninstall one, or rename it")
            elif (info := _info_of_plugin(entry)) is not None:
                found[name] = info
    return found, frozenset(candidates) - set(found) - set(built_in)


def _entries() -> Iterator[EntryPoint]:
    """Entry points of all distributions; one whose list is broken, or has hundreds of them, is named and left out."""
    seen: set[str] = set()
    for distribution in distributions():
        try:
            found = [entry for entry in distribution.entry_points if entry.group == GROUP]
            if len(found) > MOST_ENTRIES:
                raise ValueError(f"it has {len(found)} methods, expected at most {MOST_ENTRIES}")
        except Exception as error:  # whatever is in the files of other people, it must not stop the harness
            _left_out(f"distribution {_name_of(distribution)}", reason(error))
            continue
        if found and (name := _name_of(distribution)) not in seen:  # of two of one name, Python takes the first on its path
            seen.add(name)
            yield from found


def _name_of(distribution: Distribution) -> str:
    try:
        return distribution.name or str(distribution)
    except Exception:  # no METADATA, or a broken one
        return str(getattr(distribution, "_path", distribution))


def _info_of_plugin(entry: EntryPoint) -> MethodInfo | None:
    """The method behind an entry point; a broken one is named and left out."""
    try:
        module = entry.module
        infos = {info.target: info for info in infos_of_file(source_file(module), module, _owner(entry))}
        info = infos.get(f"{module}:{entry.attr}")
        if info is None:
            classes = [target.partition(":")[2] for target in infos]
            raise ImportError(f"no class {entry.attr!r} with @register in {module}.{nearest(entry.attr, classes)}")
        if info.name != entry.name:
            raise ImportError(f"its class registers as {info.name!r}")
    except Exception as error:  # whatever is in the files of other people, it must not stop the harness
        _left_out(_title(entry), reason(error))
        return None
    return info


def _owner(entry: EntryPoint) -> str:
    """The distribution, or the module where the distribution does not say its name."""
    try:
        name = entry.dist.name if entry.dist is not None else ""
    except Exception:  # no METADATA, or a broken one
        name = ""
    return name or entry.value.partition(":")[0]


def _title(entry: EntryPoint) -> str:
    return f"plugin {entry.name} of {_owner(entry)} ({entry.value})"


def _left_out(what: str, why: str) -> None:
    log.warning("%s", printable(f"{what} is left out: {why}"))
