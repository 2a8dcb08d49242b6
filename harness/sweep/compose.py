"""Hydra's override and sweep grammar, and named experiments, to lists of plain values. Nothing else imports hydra."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.errors import UsageError, nearest
from harness.text import quoted, shortened, split_outside
from harness.trial.fields import fields_of
from harness.trial.spec import TrialSpec

CONF = Path(__file__).resolve().parents[1] / "conf"
STACKS = tuple(one.name for one in fields_of(TrialSpec) if one.about.settings)  # values with a grammar of their own
OWN_GRAMMAR = "(;"  # what Hydra would read otherwise: settings of a method, rules for single sites
CARDS = "model"  # conf/model holds cards: Hydra would take model=<name> for the choice of a file there


@dataclass(frozen=True)
class Composed:
    """A sweep as requested on the command line.

    Attributes:
        name: Of the sweep; may be empty.
        about: One line.
        specs: The grid's trials; ``model`` may be a pattern still.
        ladder: Also run every prefix of each stack.
        share: Share stack prefixes between trials.
        fail_fast: Start nothing more after the first failure.
        launcher: Kind and options of the launcher.
    """

    name: str
    about: str
    specs: tuple[TrialSpec, ...]
    ladder: bool
    share: bool
    fail_fast: bool
    launcher: dict[str, Any]


def compose_sweep(overrides: Sequence[str], config_dir: Path | None = None) -> Composed:
    """Compose defaults, experiment and overrides.

    Args:
        overrides: Hydra overrides: ``bits=w4a8,w8a8``, ``seed=range(3)``, ``experiment=table1``, ``launcher=slurm``.
        config_dir: Another folder with ``experiment/`` and ``launcher/`` files.

    Raises:
        UsageError: An override is not understood or names nothing known.
    """
    parsed = _parse(overrides)
    fixed = [_without_sweep(override) for override in parsed if override.key_or_group != CARDS]
    search = [f"hydra.searchpath=[{quoted('file://' + str(config_dir.absolute()))}]"] if config_dir else []
    if config_dir is not None and not config_dir.is_dir():
        raise UsageError(f"config folder {str(config_dir)!r} does not exist")
    try:
        ConfigStore.instance().store("trial", _defaults())
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose("sweep", [*fixed, *search])
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_explain(str(error), overrides, config_dir)) from error
    for override in parsed:
        if override.key_or_group == CARDS:
            values[CARDS] = _swept(override) if override.is_sweep_override() else _plain(override.value())
    return Composed(
        name=values["name"] or "",
        about=values["about"] or "",
        specs=tuple(_specs(values)),
        ladder=_flag(values, "ladder"),
        share=_flag(values, "share"),
        fail_fast=_flag(values, "fail_fast"),
        launcher=values["launcher"],
    )


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts in Hydra's grammar as a flat dictionary.

    Raises:
        UsageError: One is not understood, or sweeps over several values.
    """
    settings: dict[str, Any] = {}
    for override in _parse(texts):
        if override.is_sweep_override():
            raise UsageError(f"{override.input_line!r} gives several values, expected one")
        if not override.key_or_group:
            raise UsageError(f"{override.input_line!r} has no key, expected key=value")
        settings[override.get_key_element()] = _plain(override.value())
    return settings


def experiments(config_dir: Path | None = None) -> list[str]:
    """Names of the experiments there are."""
    folders = [CONF / "experiment"] + ([config_dir / "experiment"] if config_dir else [])
    return sorted(file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.yaml"))


def reproductions() -> dict[str, dict[str, Any]]:
    """What experiments reproduce, by the experiment's name; the others are left out."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(file))
        if content.get("reproduces"):
            found[file.stem] = content["reproduces"]
    return found


def _parse(overrides: Sequence[str]) -> list[Override]:
    return [_parse_one(text) for text in overrides]


def _parse_one(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(_stacks_quoted(text))
    except (HydraException, ValueError) as error:  # ValueError: a number with thousands of digits
        raise UsageError(
            f"{shortened(text)!r} not understood: expected key=value, key=a,b or key=range(3)", str(error).split("\n")[0]
        ) from error


def _stacks_quoted(text: str) -> str:
    """Quote stacks with settings, whose parentheses Hydra would read as a function, and rules for bits: users need not."""
    key, equals, value = text.partition("=")
    hydras = not equals or not set(OWN_GRAMMAR) & set(value) or re.match(r"\s*['\"\[]|\s*choice\(", value)
    if key.strip().lstrip("+") not in STACKS or hydras:
        return text
    return f"{key}={','.join(quoted(part.strip()) for part in split_outside(value))}"


def _without_sweep(override: Override) -> str:
    """The override with several values as a list, which Hydra composes like any value."""
    if not override.is_sweep_override():
        return str(override.input_line)
    values = ",".join(quoted(str(value)) for value in _swept(override))
    return f"{override.get_key_element()}=[{values}]"


def _swept(override: Override) -> list[Any]:
    value = override.value()
    if isinstance(value, Glob):
        return list(value.include)
    if isinstance(value, ChoiceSweep):
        return [_plain(item) for item in value.list]
    return [_plain(item) for item in override.sweep_iterator(transformer=lambda item: item)]


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value


def _flag(values: dict[str, Any], name: str) -> bool:
    if not isinstance(values[name], bool):
        raise UsageError(f"{name} is {values[name]!r}, expected true or false")
    return bool(values[name])


def _specs(values: dict[str, Any]) -> Iterator[TrialSpec]:
    """The product of all values; the slowest loop first, so that trials which share work stand together."""
    declared = sorted(fields_of(TrialSpec), key=lambda one: one.about.nesting)
    axes: dict[str, list[Any]] = {}
    for one in declared:
        if one.kind is dict:
            axes |= {f"{one.name}.{key}": _values(one.name, value) for key, value in values[one.name].items()}
        elif one.is_identity:
            axes[one.name] = _values(one.name, values[one.name])
    if axes["method"] == [None]:
        raise UsageError("no method given: expected method=<stack>,... or --method <stack>,... or an experiment")
    how = {one.name: values[one.name] for one in declared if not one.is_identity}
    for chosen in itertools.product(*axes.values()):
        yield _spec({**how, **dict(zip(axes, chosen, strict=True))})


def _spec(cell: dict[str, Any]) -> TrialSpec:
    """One trial of values by field name; ``preprocess.crop_pct`` names an entry of a mapping."""
    found: dict[str, Any] = {}
    for one in fields_of(TrialSpec):
        if one.kind is dict:
            found[one.name] = {
                name.partition(".")[2]: str(value)
                for name, value in cell.items()
                if name.startswith(f"{one.name}.") and value is not None
            }
        else:
            found[one.name] = one.read(cell[one.name] or None if one.kind is Path else cell[one.name])
    return TrialSpec(**found)


def _defaults() -> dict[str, Any]:
    """Default of each key that describes trials, for Hydra: it refuses keys that it does not know."""
    return {
        one.name: dict.fromkeys(one.about.keys) if one.kind is dict else None if one.required else one.plain(one.default)
        for one in fields_of(TrialSpec)
    }


def _values(name: str, value: Any) -> list[Any]:
    """The values of one axis, without repetitions; texts from a YAML file may use the sweep grammar too."""
    items = value if isinstance(value, list) else [value]
    found = list(itertools.chain.from_iterable(_expanded(name, item) for item in items))
    if not found:
        raise UsageError(f"{name} has no value: expected at least one")
    return list(dict.fromkeys(found))


def _expanded(name: str, value: Any) -> Iterable[Any]:
    if not isinstance(value, str) or not value:
        return [value]
    if name in STACKS and not value.lstrip().startswith("choice("):
        return [part.strip() for part in split_outside(value)]
    if not re.search(r"[(,]", value):
        return [value]
    parsed = _parse_one(f"{name}={value}")
    return _swept(parsed) if parsed.is_sweep_override() else [value]


def _known_keys() -> list[str]:
    defaults: Any = OmegaConf.load(CONF / "sweep.yaml")
    keys = [one.name for one in fields_of(TrialSpec) if one.kind is not dict]
    keys += [f"{one.name}.{key}" for one in fields_of(TrialSpec) for key in one.about.keys]
    keys += [str(key) for key in defaults if key != "defaults"] + ["experiment", "launcher"]
    files = sorted((CONF / "launcher").glob("*.yaml"))
    return keys + sorted({f"launcher.{key}" for file in files for key in map(str, OmegaConf.load(file)) if key != "kind"})


def _explain(message: str, overrides: Sequence[str], config_dir: Path | None) -> str:
    """Hydra's complaint in one line, with the nearest valid name."""
    missing = re.search(r"Could not find '(?:experiment|launcher)/([^']*)'", message)
    if missing:
        known = [*experiments(config_dir), "local", "slurm"]
        return (
            f"no experiment or launcher is called {missing[1]!r}.{nearest(missing[1], known)} Available: {', '.join(known)}"
        )
    key = re.search(r"Could not override '([^']*)'", message) or re.search(r"Key '([^']*)' is not in struct", message)
    if key:
        known = _known_keys()
        return f"unknown key {key[1]!r}.{nearest(key[1], known)} Expected one of {', '.join(known)}"
    return f"{' '.join(overrides)}: {message.strip().splitlines()[0]}"
