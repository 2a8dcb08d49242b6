"""Ways to damage a file: bytes of any file, and values of a JSON document, one at a time."""

import copy
import json

from tests.hostile.texts import ESCAPE, HUGE

DEEP = "[" * 100_000
BYTES = {
    "empty": lambda old: b"",
    "cut in half": lambda old: old[: len(old) // 2],
    "without its end": lambda old: old[:-1],
    "zeros": lambda old: bytes(len(old)),
    "of another kind": lambda old: b"\x89PNG\r\n\x1a\n" + bytes(64),
    "text": lambda old: b"hello\n",
    "not Unicode": lambda old: b"\xff\xfe\x00{" + old,
    "deep": lambda old: DEEP.encode(),
    "a pickle": lambda old: b"cos\nsystem\n(S'touch pwned'\ntR.",
    "null": lambda old: b"null",
    "a number": lambda old: b"17",
    "a list": lambda old: b"[]",
    "an object": lambda old: b"{}",
    "a huge number": lambda old: f'{{"format": {HUGE}, "schema_version": {HUGE}}}'.encode(),
    "infinite": lambda old: b'{"format": 1e999, "schema_version": NaN}',
    "twice": lambda old: old + old,
    "a flipped bit": lambda old: _flipped(old, len(old) // 3),
}
VALUES = (
    None,
    True,
    -1,
    2**63,
    10**40,
    1.5,
    1e308,
    "",
    ESCAPE,
    "../../x",
    "/proc/x",
    "a" * 3000,
    [],
    {},
    [[]],
    [{}],
    {"a": {}},
)


def _flipped(old, place):
    return old[:place] + bytes([old[place] ^ 0x20]) + old[place + 1 :]


def documents(text, most):
    """Variants of a JSON document: a value of another type at one place, a key that is missing or new.

    Args:
        text: The document.
        most: At most so many, spread over all.
    """
    whole = json.loads(text)
    places = list(_places(whole))
    changes = [(place, value) for place in places for value in (*VALUES, ...)]
    step = max(1, len(changes) // most)
    for place, value in changes[::step][:most]:
        yield f"{'.'.join(map(str, place))} = {'gone' if value is ... else repr(value)[:30]}", _changed(whole, place, value)


def _places(value, path=()):
    children = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from _places(child, (*path, key))


def _changed(whole, place, value):
    made = copy.deepcopy(whole)
    parent = made
    for key in place[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return json.dumps(made).encode()
