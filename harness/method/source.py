"""What a module registers, read from its source text: nothing is imported, no code of it runs."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.method.registration import NAME, MethodInfo, Role, first_line

SHOWN = 80  # characters of an expression in a message


def source_file(module: str) -> Path:
    """The file of a module. Unlike ``find_spec`` of a dotted name it does not import the packages around it.

    Raises:
        ImportError: There is none.
    """
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if spec and spec.origin and not inner:
        return Path(spec.origin)
    for folder in folders if inner else []:
        base = Path(folder, *inner)
        for file in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if file.is_file():
                return file
    raise ImportError(f"module {module} not found")


def infos_of_file(file: Path, module: str, source: str) -> Iterator[MethodInfo]:
    """The methods that a file registers.

    Args:
        file: The source file.
        module: Its name when it is imported.
        source: The folder or distribution it belongs to.

    Raises:
        OSError, SyntaxError, ValueError: The file is unreadable or no Python.
        LookupError, TypeError, ValueError: An argument of ``@register`` is missing, no literal or of the wrong type.
    """
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
        name=_name(_literal(call.args[0]) if call.args else values["name"]),
        role=Role(values["role"]),
        needs=_words(values, "needs"),
        provides=_words(values, "provides"),
        excludes=_words(values, "excludes"),
        version=_of_type(values, "version", int, 1),
        paper=_of_type(values, "paper", str, ""),
        summary=first_line(ast.get_docstring(node)),
        source=source,
        target=f"{module}:{node.name}",
        extra=_of_type(values, "extra", str, ""),
    )


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute):
        return Role[node.attr]
    try:
        return ast.literal_eval(node)
    except ValueError:
        text = " ".join(ast.unparse(node).split())
        raise ValueError(f"@register takes literals, line {node.lineno} has {text[:SHOWN]}") from None


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a method: expected letters, digits, _ and -")
    return value


def _words(values: dict[str, Any], key: str) -> frozenset[str]:
    words = _of_type(values, key, tuple, ())
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"{key}={words!r}: expected a tuple of texts")
    return frozenset(words)


def _of_type(values: dict[str, Any], key: str, kind: type[Any], default: Any) -> Any:
    value = values.get(key, default)
    if not isinstance(value, kind):
        raise TypeError(f"{key}={value!r}: expected {kind.__name__}")
    return value
