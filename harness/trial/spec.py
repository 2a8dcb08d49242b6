"""What a trial is asked to be. The one place where its fields are declared: everything else is derived from here.

Adding a field means adding it to ``TrialSpec``. The flags of ``harness run`` and ``harness sweep``, the axes of a grid, the
trial's id, the ids of what trials share, the record, ``harness run --trial`` and a column of exported tables follow.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError, nearest
from harness.text import parse_size
from harness.trial.corruptions import canonical
from harness.trial.fields import IdRule, Part, SpecField, about, fields_of
from harness.trial.overrides import READERS, read_overrides
from harness.trial.readers import reader_data

EMBEDDED = "embedded"
PHOTOS = "photos"  # images that come with the project: harness/data/photographs.py
TIMM, TORCHVISION = "timm", "torchvision"  # whose order of class folders: harness/data/labels.py
CALIB = 256
CALIB_OF = {PHOTOS: 100}  # where there are not that many
INTEGER, FLOAT = "integer", "float"
CLASSIFICATION, FEATURES = "classification", "features"
EVALUATION, HELD_OUT = "evaluation", "held_out"
DATA = "data"  # calibration images come from the data
FLOAT_LAYERNORM = "float_layernorm"


def calibrated(count: int | str, source: str) -> str:
    """How many calibration images there were and where they came from, for people."""
    return f"{count} calibration images" + ("" if source == DATA else f" synthesised by {source}")


@dataclass(frozen=True)
class TrialSpec:
    """What the user asked for: plain values, the same on a command line, in a sweep's file and in a job.

    Each field's ``help`` says what it is. ``harness.trial.fields.About`` explains the declarations.

    Raises:
        UsageError: A number is out of range, the memory is no size, or an override of preprocessing is not understood,
            or the settings of a reader's data set are not.
    """

    method: str = field(
        metadata=about(
            "stack of methods joined by +, settings in parentheses",
            "stack",
            Part.STACK,
            identity=IdRule.RESOLVED,
            nesting=90,
            settings=True,
            spelled=True,
        )
    )
    model: str = field(
        default=EMBEDDED,
        metadata=about("timm model arch.tag", "name", Part.NETWORK, identity=IdRule.RESOLVED, nesting=10, spelled=True),
    )
    weights: Path | None = field(
        default=None,
        metadata=about(
            "safetensors file, or folder with config.json and model.safetensors (without: embedded or timm download)",
            "file",
            Part.NETWORK,
            identity=IdRule.RESOLVED,
            nesting=20,
            path=True,
        ),
    )
    data: str = field(
        default=EMBEDDED,
        metadata=about(
            "image folder, embedded, photos, or a reader of timm: hfds/NAME, wds/FOLDER, torch/NAME(root=FOLDER)",
            "path",
            Part.DATA,
            identity=IdRule.RESOLVED,
            nesting=30,
            settings=True,
            path=True,
            names=(PHOTOS,),
            readers=True,
            spelled=True,
        ),
    )
    classes: str | None = field(
        default=None,
        metadata=about(
            f"which output a class folder is: CSV or TSV file (folder, index, name), or whose order: {TIMM}, {TORCHVISION}",
            "file",
            Part.DATA,
            identity=IdRule.RESOLVED,  # through the hash of what it says of the folders
            nesting=32,
            path=True,
            names=(TIMM, TORCHVISION),
        ),
    )
    bits: str = field(
        default="w8a8",
        metadata=about(
            "w4a8, w8a8s4 (s: attention probabilities); of single sites: 'w4a8; blocks.*.attn=w8a8; head=w8'",
            "widths",
            Part.STACK,
            identity=IdRule.RESOLVED,
            nesting=80,
            settings=True,
            spelled=True,
        ),
    )
    calib: int = field(
        default=None,  # type: ignore[assignment]  # a number after __post_init__: what is usual depends on the data
        metadata=about(
            f"calibration images (default: {CALIB}; {CALIB_OF[PHOTOS]} with --data {PHOTOS})",
            "n",
            Part.CALIBRATION,
            identity=IdRule.ALWAYS,
            nesting=60,
            spelled=True,
        ),
    )
    calib_source: str = field(
        default=DATA,
        metadata=about(
            "data, or what synthesises images from the network alone, for example psaq",
            "name",
            Part.CALIBRATION,
            identity=IdRule.RESOLVED,
            nesting=50,
            settings=True,
        ),
    )
    seed: int = field(
        default=0,
        metadata=about(
            "draw of calibration images, and everything random in methods",
            "n",
            Part.CALIBRATION,
            identity=IdRule.ALWAYS,
            nesting=70,
            at_least=0,
            spelled=True,
        ),
    )
    eval_limit: int | None = field(
        default=None,
        metadata=about(
            "evaluate on n evenly spaced images (without it: on all)",
            "n",
            Part.EVALUATION,
            identity=IdRule.ALWAYS,
            nesting=40,
            at_least=1,
        ),
    )
    task: str = field(
        default=CLASSIFICATION,
        metadata=about(
            f"what is measured: {CLASSIFICATION}, or {FEATURES}: how far output vectors move, also without a classifier",
            "name",
            Part.EVALUATION,
            nesting=42,
            choices=(CLASSIFICATION, FEATURES),
        ),
    )
    judge: str = field(
        default=EVALUATION,
        metadata=about(
            f"{EVALUATION}: the data's evaluation images; {HELD_OUT}: a third of the calibration images, without labels: "
            "right is what full precision predicts",
            "name",
            Part.DATA,
            nesting=38,
            choices=(EVALUATION, HELD_OUT),
        ),
    )
    preprocess: Mapping[str, str] = field(
        default_factory=dict,
        metadata=about(
            "recipe=paper, or override crop_pct, crop_mode, interpolation, mean, std",
            "key=value",
            Part.NETWORK,
            identity=IdRule.RESOLVED,
            nesting=0,
            keys=tuple(READERS),
        ),
    )
    allow_overlap: bool = field(
        default=False,
        metadata=about(
            "run although calibration images are evaluation images too; the record is marked",
            "",
            Part.DATA,
            identity=IdRule.RESOLVED,  # through the hashes of the images, which say what is shared
            nesting=35,
        ),
    )
    arithmetic: str = field(
        default=INTEGER,
        metadata=about(
            "integer: products of values on uniform grids run on their codes, exactly; float: none does",
            "name",
            Part.STACK,
            identity=IdRule.DIFFERS,
            nesting=85,
            choices=(INTEGER, FLOAT),
            earlier=FLOAT,
            spelled=True,
            column="string",
        ),
    )
    float_layernorm: bool = field(
        default=False,
        metadata=about(
            "compute integer LayerNorms in floating point once the stack is done: an altered network, which its record says",
            "",
            Part.EVALUATION,  # the stack's states are those of the trial without it
        ),
    )
    corrupt: str | None = field(
        default=None,
        metadata=about(
            "evaluate on corrupted images too, as ImageNet-C does: gaussian_noise:3,fog:2; common:3 for all 15",
            "name:severity,...",
            Part.EVALUATION,
            nesting=42,
        ),
    )
    noise_floor: bool = field(
        default=False,
        metadata=about(
            "evaluate a second time with the other arithmetic, and record how far both are apart", "", Part.EXECUTION
        ),
    )
    batch: int = field(default=64, metadata=about("evaluation batch", "n", Part.EXECUTION, at_least=1))
    device: str = field(
        default="auto", metadata=about("cpu, cuda, cuda:1; auto: a GPU where there is one", "name", Part.EXECUTION)
    )
    memory: str = field(
        default="auto",
        metadata=about("for what methods keep, such as 8GB; auto: half of what is free", "size", Part.EXECUTION),
    )

    cache_dir: Path | None = field(
        default=None,
        metadata=about(
            "keeps decoded images (without: $XDG_CACHE_HOME/ptq-harness/decoded)", "folder", Part.EXECUTION, path=True
        ),
    )
    cache_size: str = field(
        default="auto",
        metadata=about(
            "of decoded images, such as 50GB, the least recently used go first; auto: half of the free disk",
            "size",
            Part.EXECUTION,
        ),
    )
    no_cache: bool = field(default=False, metadata=about("decode images anew, and keep none of them", "", Part.EXECUTION))

    def __post_init__(self) -> None:
        if self.calib is None:
            object.__setattr__(self, "calib", CALIB_OF.get(self.data, CALIB))
        parse_size(self.memory)
        reader_data(self.data)
        parse_size(self.cache_size, "cache size")
        for declared in fields_of(type(self)):
            declared.check(getattr(self, declared.name))
        read_overrides(self.preprocess)
        if self.corrupt is not None:
            object.__setattr__(self, "corrupt", canonical(self.corrupt))

    @property
    def data_name(self) -> str:
        """What records call the data: a folder's name, not its place."""
        read = reader_data(self.data)
        return Path(self.data).name if read is None else read.short

    def identity(self) -> dict[str, Any]:
        """The fields that enter the trial's id as they are; what the others stand for is resolved elsewhere."""
        return {
            one.name: value
            for one in fields_of(type(self))
            for value in [one.plain(getattr(self, one.name))]
            if _enters(one, value)
        }

    def common(self, *parts: Part) -> tuple[str, ...]:
        """The values of all fields that concern these parts: equal for trials that can share them."""
        chosen = [one for one in fields_of(type(self)) if one.about.part in parts]
        return tuple(str(one.plain(getattr(self, one.name))) for one in chosen)

    def command(self, stack: str) -> str:
        """The command line that repeats the trial from any folder."""
        written = dataclasses.replace(self, method=stack)
        words = [word for one in fields_of(type(self)) if one.is_identity for word in one.words(getattr(written, one.name))]
        return shlex.join(["harness", "run", *words])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, paths made absolute: a job may start in another folder."""
        return {one.name: one.plain(getattr(self, one.name)) for one in fields_of(type(self))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialSpec:
        """The inverse of ``as_dict``; what was written before there was a field says what all trials were then.

        Raises:
            UsageError: A name is not a field, or a value is not of its type.
        """
        known = {one.name: one for one in fields_of(cls)}
        unknown = next((name for name in values if name not in known), None)
        if unknown is not None:
            raise UsageError(f"{unknown!r} is no part of a trial.{nearest(unknown, known)} Expected: {', '.join(known)}")
        earlier = {one.name: one.about.earlier for one in known.values() if one.about.identity is IdRule.DIFFERS}
        return cls(**{name: known[name].read(value) for name, value in {**earlier, **values}.items()})

    @classmethod
    def from_command(cls, command: str) -> TrialSpec:
        """The trial of a command that ``command`` wrote; records of version 0.1 have nothing else.

        Raises:
            UsageError: It is no such command.
        """
        flags = {one.flag: one for one in fields_of(cls)}
        values: dict[str, Any] = {}
        try:
            words = iter(shlex.split(command)[2:])
            for flag in words:
                one = flags[flag]
                word = next(words, None) if one.kind is not bool else "true"
                if word is None:
                    raise ValueError(f"{flag} has no value")
                before = values.get(one.name, {}) if one.kind is dict else None
                values[one.name] = word if before is None else {**before, **pair(word, flag)}
        except (ValueError, KeyError) as error:
            raise UsageError(f"{command!r} does not say how to repeat a trial: {error}") from error
        return cls.from_dict(values)


def pair(text: str, flag: str) -> dict[str, str]:
    """One entry of a mapping from ``key=value``.

    Raises:
        UsageError: There is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{flag} {text!r} not understood: expected key=value, for example crop_pct=0.875")
    return {key.strip(): value.strip()}


def pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """A mapping from several ``key=value``.

    Raises:
        UsageError: One has no equals sign.
    """
    return {key: value for text in texts for key, value in pair(text, flag).items()}


def repeating(command: str) -> str:
    """A record's command as it must be typed today: a field that it does not name was as all trials were then.

    Args:
        command: What ``TrialSpec.command`` wrote, now or before there was the field; other texts stay as they are.
    """
    if not command.startswith("harness run "):
        return command
    earlier = [(one.flag, one.about.earlier) for one in fields_of(TrialSpec) if one.about.identity is IdRule.DIFFERS]
    return " ".join([command, *(f"{flag} {value}" for flag, value in earlier if f" {flag} " not in command)])


def identity_fields(*parts: Part, spec: type[TrialSpec] = TrialSpec) -> tuple[str, ...]:
    """Names of the fields of these parts that enter the id as they are."""
    return tuple(
        one.name for one in fields_of(spec) if one.about.part in parts and one.about.identity is not IdRule.RESOLVED
    )


def execution_fields(spec: type[TrialSpec] = TrialSpec) -> tuple[SpecField, ...]:
    """The fields that say how a trial runs, not what it is."""
    return tuple(one for one in fields_of(spec) if not one.is_identity)


def _enters(one: SpecField, value: Any) -> bool:
    kind = one.about.identity
    usual = one.about.earlier if kind is IdRule.DIFFERS else one.default
    return one.is_identity and (kind is IdRule.ALWAYS or (kind is not IdRule.RESOLVED and value != usual))
