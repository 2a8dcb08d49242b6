"""What records are averaged over: nothing but the seed may differ. The one key of tables, page, ladder, compare and order.

A record's identity is split into three parts that together are all of it: what a board has in common (``Setting``), a column
(``Network``) and a row (``Recipe``). What an identity has beyond the parts known here belongs to the setting, so that a
field that joins it later keeps records apart without a change here.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import pandas as pd

from harness.leaderboard.board.labels import told_apart
from harness.models.cards import Published, published_as
from harness.trial.identity import content_id
from harness.trial.spec import CLASSIFICATION, FEATURES, FLOAT_LAYERNORM, HELD_OUT, calibrated

# Parts of an identity that have a place of their own below; calibration images are drawn by the seed.
PLACED = {"model", "weights_sha256", "data_fingerprint", "preprocessing", "blocks", "eval_limit", "stack", "bits", "calib"}
PLACED |= {"calib_source", "seed", "calibration_fingerprint"}
Row = Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What the records of a board have in common.

    Attributes:
        fingerprint: Of the data.
        images: Evaluation images; None where a record does not say.
        eval_limit: Limit that was asked for; None for all images.
        bits: Widths.
        calib: Calibration images.
        calib_source: Where they come from, as text.
        source: The same with version and all settings as JSON text; empty for the data's own.
        other: Whatever else is part of the identity, as JSON text.
    """

    fingerprint: str
    images: int | None
    eval_limit: int | None
    bits: str
    calib: int
    calib_source: str
    source: str = ""
    other: str = "{}"

    def title(self, data: str) -> str:
        """What distinguishes a board from most others.

        Args:
            data: Name of the data.
        """
        return f"{self.bits}, {data}, {calibrated(self.calib, self.calib_source)}, {self.judges}{self.mark}"

    @property
    def judges(self) -> str:
        """How many images accuracy is measured on, and what is right there."""
        images = "?" if self.images is None else f"{self.images:,}"
        kind = "held-out calibration images judged by full precision" if self.held_out else "evaluation images"
        return f"{images} {kind}"

    @property
    def mark(self) -> str:
        """What is said of networks that were altered after their stack, behind whatever names them; empty for others."""
        return " (altered: float LayerNorms)" if json.loads(self.other).get(FLOAT_LAYERNORM) else ""

    @property
    def unaltered(self) -> Setting:
        """The setting of the same trials without the alteration: same images, same widths."""
        other = {name: value for name, value in json.loads(self.other).items() if name != FLOAT_LAYERNORM}
        return replace(self, other=json.dumps(other, sort_keys=True))

    @property
    def held_out(self) -> bool:
        """Whether accuracy is agreement with full precision on held-out calibration images."""
        return bool(json.loads(self.other).get("judge") == HELD_OUT)

    def parts(self) -> dict[str, str]:
        """What else there is, for settings with the same title."""
        version = json.loads(self.source or "{}").get("version", "?")
        limit = "no limit of images" if self.eval_limit is None else f"limit of {self.eval_limit} images"
        return {
            "data": f"data {self.fingerprint[:6]}",
            "limit": limit,
            "source": f"{self.calib_source} version {version}",
            "settings": f"settings of the source {_short(self.source)}",
            "other": ", ".join(f"{name} {value}" for name, value in json.loads(self.other).items()),
        }


@dataclass(frozen=True)
class Network:
    """A column.

    Attributes:
        model: ``arch.tag``.
        weights: Hash of the weights.
        preprocessing: As JSON text.
        label: Name in tables; with what tells it apart where the name alone would be ambiguous.
        blocks: Pattern that finds blocks; empty where no record says.
    """

    model: str
    weights: str
    preprocessing: str
    label: str = ""
    blocks: str = ""

    @property
    def published(self) -> Published:
        """Whose published numbers belong beside it."""
        return published_as(self.model, self.weights)

    def parts(self) -> dict[str, str]:
        """What else there is, for networks of the same name."""
        crop = json.loads(self.preprocessing or "{}").get("crop_pct")
        return {
            "weights": f"weights {self.weights[:6] or '?'}",
            "crop": f"crop {crop}",
            "preprocessing": f"preprocessing {_short(self.preprocessing)}",
            "blocks": f"blocks {self.blocks or '?'}",
        }


@dataclass(frozen=True)
class Recipe:
    """A row.

    Attributes:
        stack: Canonical text.
        methods: Names, versions and all settings as JSON text.
        protocol: ``strict`` or ``paper``.
        label: Text in tables; with what tells it apart where the stack alone would be ambiguous.
        identity_version: Of the identities; None where a record's id is not the hash of its identity.
    """

    stack: str
    methods: str
    protocol: str
    label: str = ""
    identity_version: int | None = None

    @property
    def versions(self) -> str:
        """Versions of the methods, in their order: ``1.2``."""
        return ".".join(str(step["version"]) for step in json.loads(self.methods or "[]")) or "?"

    def parts(self) -> dict[str, str]:
        """What else there is, for rows of the same stack."""
        version = "?" if self.identity_version is None else str(self.identity_version)
        return {
            "methods": f"method versions {self.versions}",
            "protocol": self.protocol,
            "identity": f"identity version {version}",
            "settings": f"settings {_short(self.methods)}",
        }


Key = tuple[Setting, Network, Recipe]


@dataclass(frozen=True)
class Group:
    """Records that differ in nothing but their seed.

    Attributes:
        setting: Of its board.
        network: Its column.
        recipe: Its row.
        rows: Its records by seed, columns as in ``harness.store.table``.
    """

    setting: Setting
    network: Network
    recipe: Recipe
    rows: tuple[Row, ...]

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits over everything but the seed: the same in every store."""
        network, recipe = replace(self.network, label=""), replace(self.recipe, label="")
        return content_id({"group": [vars(self.setting), vars(network), vars(recipe)]})

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its records."""
        return tuple(int(row["seed"]) for row in self.rows)


def groups(rows: pd.DataFrame, task: str = CLASSIFICATION) -> list[Group]:
    """The groups of done records of a task, with labels that are distinct on each board.

    Of several records of a group at one seed none counts, or the own one beside imported ones: a warning names them. One odd
    record must neither enter a mean twice nor keep a report from being made.

    Args:
        rows: One row per record, as ``harness.store.table.table`` makes it.
        task: What the records measured; features stand on no board of accuracies.
    """
    return [group for group in map(without_doubles, gathered(rows, task)) if group.rows]


def gathered(rows: pd.DataFrame, task: str = CLASSIFICATION) -> list[Group]:
    """The same, also where a seed is there twice: nothing may be averaged over such a group."""
    features = rows["task"] == FEATURES
    done = rows[(rows["status"] == "done") & (features if task == FEATURES else ~features)].astype(object)
    found: dict[Key, list[Row]] = {}
    records: list[Any] = done.where(done.notna(), None).to_dict("records")
    for row in records:
        found.setdefault((setting_of(row), network_of(row), recipe_of(row)), []).append(row)
    known = _labelled(_blocks_known(found))
    return [Group(*key, tuple(sorted(rows, key=lambda row: int(row["seed"])))) for key, rows in known.items()]


def without_doubles(group: Group) -> Group:
    """A group without the seeds that it has more than once; their records are named in a warning."""
    kept: list[Row] = []
    for _, members in itertools.groupby(group.rows, key=lambda row: int(row["seed"])):
        found = list(members)
        if len(found) > 1:
            own = [row for row in found if not row["origin"]]
            log.warning("%s; %s", _told(group, found), "only the own one counts" if len(own) == 1 else "none of them counts")
            found = own if len(own) == 1 else []
        kept += found
    return replace(group, rows=tuple(kept))


def _told(group: Group, same: Sequence[Row]) -> str:
    """Which records have one seed."""
    where = f"{group.recipe.label} on {group.network.label}, {group.setting.bits}"
    ids = " and ".join(str(row["id"]) for row in same)
    return (
        f"records {ids} are the same trial at the same seed ({where}, seed {same[0]['seed']}) "
        "but for the content of its calibration images: a mean would count the seed twice"
    )


def data_name(members: Iterable[Group]) -> str:
    """Names of their data: a folder that was moved has the same content under another name."""
    return " / ".join(sorted({str(row["data"]) for group in members for row in group.rows}))


def setting_of(row: Row) -> Setting:
    """The setting of a record."""
    identity = _identity(row["identity"])
    other = {name: value for name, value in identity.items() if name not in PLACED}
    source = identity.get("calib_source")
    return Setting(
        fingerprint=str(row["data_fingerprint"]),
        images=_whole(row["n_images"]),
        eval_limit=_whole(row["eval_limit"]),
        bits=str(row["bits"]),
        calib=int(row["calib"]),
        calib_source=str(row["calib_source"]),
        source=json.dumps(source, sort_keys=True) if source else "",
        other=json.dumps(other, sort_keys=True),
    )


def network_of(row: Row) -> Network:
    """The network of a record."""
    blocks = _identity(row["identity"]).get("blocks", "")
    return Network(str(row["model"]), row["weights_sha256"] or "", row["preprocessing"] or "", blocks=str(blocks))


def recipe_of(row: Row) -> Recipe:
    """The stack of a record with the versions that it was made with."""
    return Recipe(
        str(row["stack"]), row["methods"] or "", str(row["protocol"]), identity_version=_whole(row["identity_version"])
    )


@lru_cache(maxsize=4096)
def _identity(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _short(text: str) -> str:
    return content_id({"text": text})[:6]


def _blocks_known(found: Mapping[Key, list[Row]]) -> dict[Key, list[Row]]:
    """Records from before the pattern of blocks joined the identity stand in the column of their network, not in another.

    Their identity version keeps them in rows of their own.
    """
    patterns: dict[Network, set[str]] = {}
    for _, network, _ in found:
        patterns.setdefault(replace(network, blocks=""), set()).add(network.blocks)
    known: dict[Key, list[Row]] = {}
    for (setting, network, recipe), members in found.items():
        others = patterns[replace(network, blocks="")] - {""}
        only = next(iter(others)) if not network.blocks and len(others) == 1 else network.blocks
        known.setdefault((setting, replace(network, blocks=only), recipe), []).extend(members)
    return known


def _labelled(found: Mapping[Key, list[Row]]) -> dict[Key, list[Row]]:
    """The same with labels, which are distinct among the networks and among the recipes of each setting."""
    by_setting: dict[Setting, list[Key]] = {}
    for key in found:
        by_setting.setdefault(key[0], []).append(key)
    labelled: dict[Key, list[Row]] = {}
    for keys in by_setting.values():
        networks = list(dict.fromkeys(network for _, network, _ in keys))
        recipes = list(dict.fromkeys(recipe for _, _, recipe in keys))
        columns = dict(
            zip(networks, told_apart([one.model for one in networks], [one.parts() for one in networks]), strict=True)
        )
        lines = dict(zip(recipes, told_apart([one.stack for one in recipes], [one.parts() for one in recipes]), strict=True))
        for setting, network, recipe in keys:
            named = replace(network, label=columns[network]), replace(recipe, label=lines[recipe] + setting.mark)
            labelled[setting, *named] = found[setting, network, recipe]
    return labelled
