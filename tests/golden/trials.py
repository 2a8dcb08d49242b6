"""The golden trials: small runs on the embedded network, at least one of every method that runs here without extras."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run.prepare import Prepared, prepare
from harness.run.run_trial import Session, run_trial
from harness.store.store import Store
from harness.trial.identity import ID_VERSION
from harness.trial.spec import FLOAT, INTEGER, TrialSpec
from tests.golden.digest import COLLECTED, SEARCHED, SOLVED, State, machine, read_state
from tests.threads import one_thread


def small(method: str, bits: str, **changes: Any) -> TrialSpec:
    """A trial of about a second; in floating point, as the first records were, unless it says otherwise."""
    plain = {"calib": 16, "eval_limit": 40, "device": "cpu", "arithmetic": FLOAT}
    return TrialSpec(method, bits=bits, **{**plain, **changes})


# Ranges and formulas: on another machine a zero point may be rounded the other way, one of a hundred.
COLLECTING = (
    small("fp32", "w8a8"),
    small("minmax", "w8a8"),
    small("percentile", "w4a8"),
    small("ema(weights=symmetric)", "w8a8"),
    small("fqvit", "w8a8"),
    small("fqvit(lis=true,lis_calibration=release)", "w8a8s4"),
    small("fqvit+omse", "w4a8"),
    small("minmax+smoothquant", "w8a8"),
    small("repqvit+groupwise", "w4a4"),
    small("fqvit", "w8a8", arithmetic=INTEGER),
)
# Searches and learning: a sum that differs in its last bit may decide a step, and all later ones follow.
SEARCHING = (
    small("fqvit+omse+biascorr+evolq(passes=1,cycles=1)", "w3a8"),
    small("fqvit+evolq(preset=paper,passes=1,cycles=1)", "w8a8"),
    small("fqvit+evolq(selection=evaluation,passes=1,cycles=1)", "w4a8", seed=3),
    small("fqvit+gradopt(passes=1,steps=1)", "w4a8"),
    small("fqvit+omse+biascorr+evolq(passes=1,cycles=1)", "w3a8", arithmetic=INTEGER),
    small("minmax+biascorr(form=empirical,batch=8)", "w4a8", arithmetic=INTEGER),
    small("minmax+biascorr(form=empirical,batch=8)", "w4a8"),
    small("repqvit+biascorr(form=empirical,batch=8)", "w4a4"),
    small("minmax+adaround(iterations=2,batch=8)", "w4a8"),
    small("minmax+brecq(iterations=3,batch=8,loss=fisher,scale_iterations=3)", "w4a8"),
    small("minmax+brecq(preset=joint,iterations=3,batch=8)", "w4a4"),
    small("minmax+psaqv2(rounds=1,image_steps=1,student_steps=2)", "w4a8"),
    small("minmax", "w4a8", calib=4, calib_source="psaq(iterations=2)"),
    small("repqvit+gptq(batch=8)", "w4a4"),
    small("repqvit+erq(batch=8)", "w4a4"),
    small("repqvit+qwt(batch=8)", "w4a4"),
    small("repqvit+qwt(preset=chain,batch=8)", "w4a4"),
    small("repqvit+erq(preset=exact,batch=8)", "w4a4"),
    small("repqvit+qdrop(iterations=3,batch=8)", "w4a4"),
    small("repqvit+fimaq(iterations=5,rank=2,batch=8)", "w4a4"),
    small("repqvit+aphq(iterations=3,batch=8)", "w4a4"),
    small("repqvit+lsvit(iterations=3,batch=8)", "w4a4"),
    small("isvit(iterations=2,batch=8,scale_images=8)", "w4a4"),
    small("relumlp(iterations=3,batch=8)+minmax", "w4a8"),
    small("adalog(candidates=32,steps=1,rounds=1,images=4)+qdrop(preset=adalog,iterations=2,batch=8)", "w4a4"),
    small("adalog(candidates=32,steps=1,rounds=1,images=4)", "w4a4"),
    small("ptq4vit(steps=6,rounds=1)", "w6a6"),
    small("easyquant(steps=6)", "w4a4"),
    small("rankaware(steps=6,rounds=2,images=4,bias=false)", "w4a4"),
    small("rotate+minmax", "w8a8", arithmetic=INTEGER),
    small("minmax+ocs", "w4a8", arithmetic=INTEGER),
    small("minmax+lapq(images=8,evaluations=3,batch=8)", "w4a8", arithmetic=INTEGER),
    small("repqvit+gptaq(batch=8)", "w4a4", arithmetic=INTEGER),
    small("repqvit+comq(batch=8)", "w4a4", arithmetic=INTEGER),
    small("nuclear(budget=4.5,lowest=4,highest=6,images=2)+minmax(sites=operands)", "w6a6"),
    small("allocate(budget=4,sensitivity=fisher,lowest=3,highest=5,images=2)+minmax", "w8a8", arithmetic=INTEGER),
)


def name_of(spec: TrialSpec) -> str:
    """How a trial is called in the file and in the tests."""
    more = f" {spec.calib_source}" if spec.calib_source != "data" else ""
    more += f" {INTEGER}" if spec.arithmetic == INTEGER else ""
    return f"{spec.method} {spec.bits}{more}"


BY_NAME = {name_of(spec): spec for spec in (*COLLECTING, *SEARCHING)}


@dataclass(frozen=True)
class Identity:
    """What names a trial and what may change the name.

    Attributes:
        id: The trial's id.
        prefixes: Ids of its stack's first step, first two steps, ...
        versions: ``ID_VERSION`` and the version of every method that takes part.
    """

    id: str
    prefixes: tuple[str, ...]
    versions: dict[str, int]

    @classmethod
    def of(cls, prepared: Prepared) -> "Identity":
        """Of a checked trial."""
        versions = {step.info.name: step.info.version for step in prepared.stack.steps}
        if prepared.calib_source is not None:
            versions[prepared.calib_source.info.name] = prepared.calib_source.info.version
        return cls(prepared.id, prepared.prefixes, {"ID_VERSION": ID_VERSION, **versions})


class Runs:
    """Runs golden trials in one process with one thread; they share the captured network and prefixes of stacks.

    Args:
        folder: For the store.
    """

    def __init__(self, folder: Path) -> None:
        self._store, self._session = Store(folder), Session()

    def identity(self, spec: TrialSpec) -> Identity:
        """Of a trial, without running it."""
        return Identity.of(prepare(spec, self._session.opened))

    def state(self, spec: TrialSpec) -> State:
        """What the methods of a trial leave behind.

        Raises:
            RuntimeError: The trial failed.
        """
        with one_thread():
            record, _ = run_trial(spec, self._store, session=self._session)
        if record["status"] != "done":
            raise RuntimeError(f"golden trial {name_of(spec)} failed: {record['error']['message']}")
        return read_state(self._store.folder(record["id"]) / "quantizers.safetensors", machine())


def tolerance_of(name: str) -> float:
    """How near a state must be to the file's on a machine that the file does not know."""
    if name.startswith("repqvit+qwt"):
        return SOLVED
    return COLLECTED if BY_NAME[name] in COLLECTING else SEARCHED
