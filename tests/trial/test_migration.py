"""Records of earlier versions: today's form and today's id, and nothing claimed that was not measured."""

import json
import re

import pytest

from harness.models.cards import block_pattern, cards
from harness.run.prepare import prepare
from harness.trial import migration, record_check
from harness.trial.identity import ID_VERSION, content_id
from harness.trial.migration import FORMER_BLOCKS, SAME_BLOCKS, identity_version, to_identity, to_schema
from harness.trial.record_check import NotARecordError, parse_record
from harness.trial.spec import TrialSpec
from tests.store.test_store import record


def earlier(spec=None, model="vit_pico_patch4_28.fashion_mnist", **changes):
    """A record as it was before ``blocks`` joined the identity."""
    identity = {"model": model, "stack": [], **(spec or {})}
    identity.pop("blocks", None)
    return record(content_id(identity), spec=identity, model=model, **changes)


def test_a_record_without_blocks_gets_the_id_of_today():
    prepared = prepare(TrialSpec("fqvit", seed=2))
    today = json.loads(json.dumps(prepared.identity))
    old = earlier(today)
    assert identity_version(old["spec"], old["id"]) == 0
    new = to_identity(old, block_pattern)
    assert (new["id"], new["spec"]) == (prepared.id, today)
    assert new["migrated"]["id"] == old["id"]
    assert "blocks" in new["migrated"]["why"]
    assert {**new, "id": old["id"], "spec": old["spec"]} == {**old, "migrated": new["migrated"]}, "results stay"
    assert to_identity(new, block_pattern) is new, "once is enough"
    assert "blocks" not in old["spec"], "the old record is not changed"


def test_versions_of_methods_stay_what_they_were():
    prepared = prepare(TrialSpec("fqvit+omse"))
    today = json.loads(json.dumps(prepared.identity))
    steps = [{**step, "version": 1} for step in today["stack"]]
    assert steps != today["stack"], "omse has a later version today"
    new = to_identity(earlier({**today, "stack": steps}), block_pattern)
    assert new["spec"]["stack"] == steps
    assert new["id"] != prepared.id


def test_the_former_pattern_stays_where_todays_finds_other_blocks():
    new = to_identity(earlier(model="levit_128.fb_dist_in1k"), block_pattern)
    assert new["spec"]["blocks"] == FORMER_BLOCKS


PATHS = ("blocks.0", "blocks.11", "blocks.0.attn", "layers.3.blocks.1", "layers.0", "layer2.0", "layer2.0.conv1", "s3.b4")
PATHS += ("s3.b4.conv1", "stages.1.blocks.2", "stem", "head", "patch_embed.proj", "layers.1.downsample", "norm")


def test_patterns_called_the_same_find_the_same_blocks():
    """Of each network's own paths; a pattern of one family says nothing about another's."""
    families = {
        r"blocks\.\d+$": "blocks",
        r"layers\.\d+\.blocks\.\d+$": "layers.",
        r"layer\d+\.\d+$": "layer2",
        r"s\d+\.b\d+$": "s3",
    }
    assert set(families) | {FORMER_BLOCKS} == set(SAME_BLOCKS)
    for pattern, start in families.items():
        own = [path for path in PATHS if path.startswith(start)]
        assert own
        assert [bool(re.search(pattern, path)) for path in own] == [bool(re.search(FORMER_BLOCKS, path)) for path in own]
    assert {card.blocks for card in cards().values() if "levit" not in card.name} <= set(SAME_BLOCKS)


def test_an_id_that_is_no_hash_of_the_identity_is_left_alone():
    forged = {**earlier(), "id": "0123456789abcdef"}
    assert identity_version(forged["spec"], forged["id"]) is None
    assert to_identity(forged, block_pattern) is forged
    never_run = record(status="failed")
    assert to_identity(never_run, block_pattern) is never_run


def test_every_earlier_version_has_a_step():
    assert set(migration.IDENTITY) == set(range(ID_VERSION)), "a raised identity version comes with its migration"
    assert set(migration.SCHEMA) == set(range(1, record_check.SCHEMA_VERSION)), "likewise a raised schema version"


@pytest.fixture
def later(monkeypatch):
    """A program whose records have schema version 2, and a function that gives version 1 its form."""
    monkeypatch.setattr(record_check, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(migration.SCHEMA, 1, lambda old: {**old, "schema_version": 2, "seed": old["seed"] + 100})


def test_an_earlier_schema_is_read_where_a_function_leads_to_todays(later):
    assert parse_record(json.dumps(record(seed=1)))["seed"] == 101
    assert parse_record(json.dumps(record(seed=1, schema_version=2)))["seed"] == 1
    for version in (0, 3, "1", None, True, -(2**70)):
        with pytest.raises(NotARecordError, match=r"schema_version is .*, expected 2"):
            parse_record(json.dumps(record(schema_version=version)))


def test_without_a_function_the_form_stays():
    old = {"schema_version": 0}
    assert to_schema(old, 1) is old
