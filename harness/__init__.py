"""Run post-training quantization trials of vision models, keep their records, report on them.

What can be imported from here is the public Python API (docs/python-api.md); everything else may change between versions.
Names are loaded when they are first used: ``import harness`` alone imports neither torch nor pandas.

    >>> from harness import TrialSpec, run_trial
    >>> result = run_trial(TrialSpec("fqvit+omse", bits="w4a8"))
    >>> result.record["metrics"]["top1"]
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers read it; the module typing takes longer to load than all else here
if TYPE_CHECKING:
    from typing import Any

    from harness.data.sets import CalibrationSet as CalibrationSet
    from harness.engines.layerwise import walk as walk
    from harness.errors import HarnessError as HarnessError
    from harness.errors import UsageError as UsageError
    from harness.graph.capture import capture as capture
    from harness.method.base import Context as Context
    from harness.method.base import Method as Method
    from harness.method.calibration_source import CalibrationSource as CalibrationSource
    from harness.method.registration import Role as Role
    from harness.method.registration import register as register
    from harness.quant.format.base import NumberFormat as NumberFormat
    from harness.quant.format.registration import number_format as number_format
    from harness.quant.network.qmodel import QuantizedModel as QuantizedModel
    from harness.quant.network.qmodel import quantizable as quantizable
    from harness.run.reload import load_quantized as load_quantized
    from harness.run.run_trial import TrialResult as TrialResult
    from harness.run.run_trial import run_trial as run_trial
    from harness.store.store import Store as Store
    from harness.trial.record import Record as Record
    from harness.trial.spec import TrialSpec as TrialSpec

__version__ = "0.2.0.dev0"

# Public name -> module that defines it. Type checkers read the imports above; a test keeps both lists equal.
PUBLIC = {
    "CalibrationSet": "harness.data.sets",
    "CalibrationSource": "harness.method.calibration_source",
    "Context": "harness.method.base",
    "HarnessError": "harness.errors",
    "Method": "harness.method.base",
    "NumberFormat": "harness.quant.format.base",
    "QuantizedModel": "harness.quant.network.qmodel",
    "Record": "harness.trial.record",
    "Role": "harness.method.registration",
    "Store": "harness.store.store",
    "TrialResult": "harness.run.run_trial",
    "TrialSpec": "harness.trial.spec",
    "UsageError": "harness.errors",
    "capture": "harness.graph.capture",
    "load_quantized": "harness.run.reload",
    "number_format": "harness.quant.format.registration",
    "quantizable": "harness.quant.network.qmodel",
    "register": "harness.method.registration",
    "run_trial": "harness.run.run_trial",
    "walk": "harness.engines.layerwise",
}
__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'harness' has no public name {name!r}: expected one of {', '.join(PUBLIC)}")
    value = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
