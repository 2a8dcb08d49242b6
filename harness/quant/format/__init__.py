"""Number formats: how real values become codes and back.

The built-in ones are imported here: whoever imports a part of this package knows the names that state files may hold, and no
other package takes one of them first.
"""

from harness.quant.format.adaptive_log import AdaptiveLog
from harness.quant.format.base import NumberFormat
from harness.quant.format.log_int_softmax import LogIntSoftmax
from harness.quant.format.log_sqrt2 import LogSqrt2
from harness.quant.format.power_of_two import PowerOfTwo
from harness.quant.format.registration import number_format
from harness.quant.format.requantized import Requantized
from harness.quant.format.rounded_first import RoundedFirst
from harness.quant.format.shift_uniform_log2 import ShiftUniformLog2
from harness.quant.format.split import Split
from harness.quant.format.twin_gelu import TwinGelu
from harness.quant.format.twin_softmax import TwinSoftmax
from harness.quant.format.uniform import Uniform

__all__ = [
    "AdaptiveLog",
    "LogIntSoftmax",
    "LogSqrt2",
    "NumberFormat",
    "PowerOfTwo",
    "Requantized",
    "RoundedFirst",
    "ShiftUniformLog2",
    "Split",
    "TwinGelu",
    "TwinSoftmax",
    "Uniform",
    "number_format",
]
