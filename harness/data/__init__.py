"""Images: calibration sets (no labels), evaluation sets, preprocessing, folders and the embedded default."""

from harness.data.sets import CalibrationSet as CalibrationSet
from harness.data.sets import DataSource as DataSource
from harness.data.sets import EvaluationSet as EvaluationSet
from harness.data.sources import open_source as open_source
