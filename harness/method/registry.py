"""The one way to find methods: by name, without importing any of them before it is needed.

A method is a class decorated with ``@register(...)`` in a module of the folders ``methods`` or ``baselines``, or behind
an entry point of the group ``harness.methods`` (entry-point name = method name, value ``module:Class``). Listing reads
the decorator from the source text, so that ``harness list`` needs no torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import logging
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError, nearest
from harness.method.registration import MethodInfo, Role, first_line, owner_of

log = logging.getLogger(__name__)

GROUP = "harness.methods"
# What a module with mistakes raises while its source is read: wrong syntax, a missing role, an argument that is no literal.
BROKEN = (ImportError, LookupError, SyntaxError, OSError, TypeError, ValueError)
PACKAGES = ("harness.methods", "harness.baselines")


class MethodImportError(UsageError):
    """A method that is known, but whose module or one of its libraries cannot be imported."""

    kind = "incompatible"


def available() -> dict[str, MethodInfo]:
    """Every known method by name, sorted by role and name; none of them is imported.

    Raises:
        HarnessError: Two methods have the same name; the message names both owners.
    """
    found: dict[str, MethodInfo] = {}
    for info in _all_infos():
        other = found.get(info.name)
        if other is not None and other.target != info.target:
            raise HarnessError(f"two methods are called {info.name!r}: {other.target} and {info.target}")
        found[info.name] = info
    order = list(Role)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].role), item[0])))


def load(name: str) -> type[Any]:
    """Import the class of a method or calibration source.

    Raises:
        UsageError: There is no such method (the message names the nearest ones), or its module cannot be imported.
    """
    known = available()
    if name not in known:
        raise UsageError(unknown_method(name, known))
    module, _, attribute = known[name].target.partition(":")
    try:
        cls: type[Any] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        extra = known[name].extra
        hint = f"it needs an optional extra: pip install 'ptq-harness[{extra}]'" if extra else ""
        raise MethodImportError(f"method {name!r} of {known[name].source} cannot be imported: {error}", hint) from error
    return cls


def unknown_method(name: str, known: dict[str, MethodInfo]) -> str:
    """The message for a name that no method has."""
    return f"unknown method {name!r}.{nearest(name, known)} Available: {', '.join(known)} (see: harness list methods)"


def _all_infos() -> Iterator[MethodInfo]:
    for package in PACKAGES:
        yield from _infos_of_package(package)
    for entry in entry_points(group=GROUP):
        info = _plugin(entry)
        if info is not None:
            yield info


@lru_cache
def _infos_of_package(package: str) -> tuple[MethodInfo, ...]:
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.py") if not file.name.startswith("_"))
    return tuple(info for file in files for info in _readable_infos(file, f"{package}.{file.stem}", owner_of(package)))


def _readable_infos(file: Path, module: str, source: str) -> list[MethodInfo]:
    """The methods in a file; a broken file is reported on standard error and left out."""
    try:
        return list(_infos_of_file(file, module, source))
    except BROKEN as error:
        log.warning("%s is left out: %s", module, _reason(error))
        return []


def _plugin(entry: EntryPoint) -> MethodInfo | None:
    """The method behind an entry point; a broken one is reported on standard error and left out."""
    module, _, attribute = entry.value.partition(":")
    owner = entry.dist.name if entry.dist is not None else module
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ImportError(f"module {module} not found")
        infos = {info.target: info for info in _infos_of_file(Path(spec.origin), module, owner)}
        info = infos.get(f"{module}:{attribute}")
        if info is None:
            raise ImportError(f"no class {attribute!r} with @register in {module}")
        if info.name != entry.name:
            raise ImportError(f"its class registers as {info.name!r}")
        return info
    except BROKEN as error:
        log.warning("plugin %s of %s (%s) is left out: %s", entry.name, owner, entry.value, _reason(error))
        return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, LookupError | TypeError) else str(error)


def _infos_of_file(file: Path, module: str, source: str) -> Iterator[MethodInfo]:
    text = file.read_text(encoding="utf-8")
    if "register" not in text:
        return
    for node in ast.parse(text, filename=str(file)).body:
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _called(decorator) == "register":
                    yield _info_of_class(node, decorator, module, source)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _info_of_class(node: ast.ClassDef, call: ast.Call, module: str, source: str) -> MethodInfo:
    values: dict[str, Any] = {keyword.arg: _literal(keyword.value) for keyword in call.keywords if keyword.arg}
    return MethodInfo(
        name=ast.literal_eval(call.args[0]) if call.args else values["name"],
        role=Role(values["role"]),
        needs=frozenset(values.get("needs", ())),
        provides=frozenset(values.get("provides", ())),
        version=values.get("version", 1),
        paper=values.get("paper", ""),
        summary=first_line(ast.get_docstring(node)),
        source=source,
        target=f"{module}:{node.name}",
        extra=values.get("extra", ""),
    )


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute):
        return Role[node.attr]
    return ast.literal_eval(node)
