"""The embedded network and its data are opened once a test session, however many trials run in it.

A trial without a session opens data, loads the network and captures it anew: three seconds, in a hundred tests. Here the
first result of each is handed to every later ``Memo`` that would compute it; all else about a memo stays as it is.
"""

from typing import Any

import pytest

from harness.method.memo import Memo
from harness.models.loading import full_name
from harness.quant.network.qmodel import QuantizedModel

_NAME = full_name("embedded")
_OPENED: dict[Any, Any] = {}


def _is_embedded(kind: str, key: Any) -> bool:
    match kind:
        case "source":
            return bool(key == "embedded")
        case "model":
            return bool(key == ("embedded", None))
        case "capture":
            return _NAME in key
    return False


def _once_a_session(once: Any) -> Any:
    def patched(self: Memo, kind: str, key: Any, compute: Any, **how: Any) -> Any:
        if not _is_embedded(kind, key):
            return once(self, kind, key, compute, **how)

        def known() -> Any:
            if (kind, key) not in _OPENED:
                _OPENED[kind, key] = compute()
            value = _OPENED[kind, key]
            if isinstance(value, QuantizedModel):  # as it is after capture
                value.clear()
                value.batch_limit = None
            return value

        return once(self, kind, key, known, **how)

    return patched


@pytest.fixture(scope="session", autouse=True)
def _opened_once():
    """Every memo of the session knows what has been opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memo, "once", _once_a_session(Memo.once))
        yield


@pytest.fixture
def opened_afresh(monkeypatch):
    """For tests of opening itself: nothing is known."""
    monkeypatch.setattr("tests.opening._is_embedded", lambda kind, key: False)
