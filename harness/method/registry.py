"""The one way to find methods: by name, without importing any of them before it is needed.

A method is a class decorated with ``@register(...)`` in a module of the folders ``methods`` or ``baselines``, or behind
an entry point of the group ``harness.methods`` (entry-point name = method name, value ``module:Class``). Listing reads
the decorator from the source text, so that ``harness list`` needs no torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from harness.errors import HarnessError, UsageError, nearest

if TYPE_CHECKING:
    from harness.method.base import Method, Strategy
    from harness.method.calibration_source import CalibrationSource

GROUP = "harness.methods"
# What a module with mistakes raises while its source is read: wrong syntax, a missing role, an argument that is no literal.
BROKEN = (ImportError, LookupError, SyntaxError, OSError, TypeError, ValueError)
PACKAGES = ("harness.methods", "harness.baselines")


class MethodImportError(UsageError):
    """A method that is known, but whose module or one of its libraries cannot be imported."""

    kind = "incompatible"


class Role(StrEnum):
    """What a method does, in the order of a stack; a ``source`` makes calibration images and is no step of one."""

    SCHEME = "scheme"
    TRANSFORM = "transform"
    RANGE = "range"
    CORRECT = "correct"
    REFINE = "refine"
    SOURCE = "source"


@dataclass(frozen=True)
class MethodInfo:
    """What is known of a method without running it.

    Attributes:
        name: Its name in stacks.
        role: Its place in the order.
        needs: What an earlier step must provide (``scheme``, ``scales``).
        provides: What later steps may count on.
        version: Raised when its results change; part of a trial's identity.
        paper: Source.
        summary: First line of its docstring.
        source: Package or distribution it comes from.
        target: ``module:Class``.
        extra: Optional extra of this distribution that installs the library it needs.
    """

    name: str
    role: Role
    needs: frozenset[str] = frozenset()
    provides: frozenset[str] = frozenset()
    version: int = 1
    paper: str = ""
    summary: str = ""
    source: str = ""
    target: str = ""
    extra: str = ""


K = TypeVar("K", bound="type[Strategy[Any]]")


def register(
    name: str,
    *,
    role: Role,
    needs: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    version: int = 1,
    paper: str = "",
    extra: str = "",
) -> Callable[[K], K]:
    """Class decorator that makes a ``Method`` or ``CalibrationSource`` known.

    Arguments must be literals: listing reads them from the source text.
    """

    def decorate(cls: K) -> K:
        cls.info = MethodInfo(
            name=name,
            role=role,
            needs=frozenset(needs),
            provides=frozenset(provides),
            version=version,
            paper=paper,
            summary=_first_line(cls.__doc__),
            source=_owner(cls.__module__),
            target=f"{cls.__module__}:{cls.__qualname__}",
            extra=extra,
        )
        return cls

    return decorate


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


def load(name: str) -> type[Method[Any]]:
    """Import a method's class.

    Raises:
        UsageError: There is no such method (the message names the nearest ones), or its module cannot be imported.
    """
    return cast("type[Method[Any]]", load_any(name))


def load_source(name: str) -> type[CalibrationSource[Any]]:
    """Likewise of a calibration source."""
    return cast("type[CalibrationSource[Any]]", load_any(name))


def load_any(name: str) -> type[Strategy[Any]]:
    """Likewise of either."""
    known = available()
    if name not in known:
        raise UsageError(unknown_method(name, known))
    module, _, attribute = known[name].target.partition(":")
    try:
        cls: type[Strategy[Any]] = getattr(importlib.import_module(module), attribute)
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
    return tuple(info for file in files for info in _readable_infos(file, f"{package}.{file.stem}", _owner(package)))


def _readable_infos(file: Path, module: str, source: str) -> list[MethodInfo]:
    """The methods in a file; a broken file is reported on standard error and left out."""
    try:
        return list(_infos_of_file(file, module, source))
    except BROKEN as error:
        print(f"warning: {module} is left out: {_reason(error)}", file=sys.stderr)
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
        print(f"warning: plugin {entry.name} of {owner} ({entry.value}) is left out: {_reason(error)}", file=sys.stderr)
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
        summary=_first_line(ast.get_docstring(node)),
        source=source,
        target=f"{module}:{node.name}",
        extra=values.get("extra", ""),
    )


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute):
        return Role[node.attr]
    return ast.literal_eval(node)


def _owner(module: str) -> str:
    """The folder of a built-in method, or the package of another one."""
    return module.removeprefix("harness.").partition(".")[0]


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
