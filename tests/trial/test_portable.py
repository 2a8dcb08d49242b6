"""Records for others name no place of the machine that wrote them."""

import json
from pathlib import Path

from harness.trial.portable import portable
from harness.trial.spec import TrialSpec
from tests.store.test_store import record

PLACE = "/home/me/secret"


def written(**changes):
    spec = TrialSpec("fqvit", **{"data": f"{PLACE}/imagenet", "weights": Path(f"{PLACE}/deit.safetensors"), **changes})
    return record(asked=spec.as_dict(), command=spec.command("fqvit"), data={"name": spec.data_name, "fingerprint": "f"})


def test_no_path_is_left():
    before = written()
    after = portable(before)
    assert PLACE in json.dumps(before)
    assert PLACE not in json.dumps(after)
    assert after["asked"]["data"] == "imagenet"
    assert "--weights deit.safetensors --data imagenet" in after["command"]
    assert {name: after[name] for name in ("id", "spec", "metrics")} == {n: before[n] for n in ("id", "spec", "metrics")}


def test_what_is_no_path_stays():
    spec = TrialSpec("fqvit")
    one = record(asked=spec.as_dict(), command=spec.command("fqvit"), data={"name": "embedded", "fingerprint": "f"})
    assert portable(one) == one
    old = record()
    assert portable(old) == old, "records of earlier versions have no asked"


def test_names_with_spaces_and_no_command():
    assert "--data 'my images'" in portable(written(data=f"{PLACE}/my images"))["command"]
    assert portable(record(command="harness run --method 'x"))["command"] == ""
