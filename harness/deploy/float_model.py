"""The float32 model that an exported file is compared with: of the same network, with the same weights."""

from __future__ import annotations

from pathlib import Path

from harness.deploy.onnx_file import write_onnx
from harness.errors import UsageError
from harness.models.loading import load_model
from harness.trial.record import Record


def write_float32(record: Record, path: Path, weights: Path | None = None) -> None:
    """Export the full-precision network of a trial.

    Args:
        record: Of the trial.
        path: The file.
        weights: File with its weights; None for the embedded ones or timm's download.

    Raises:
        UsageError: The network cannot be loaded, or its weights are not those of the trial.
        CaptureError: torch cannot export it.
    """
    asked = record.get("asked", {})
    loaded = load_model(str(asked.get("model", record["model"])), weights)
    expected = record["spec"].get("weights_sha256")
    if loaded.weights_sha256 != expected:
        raise UsageError(
            f"trial {record['id']} was run on weights {expected} of {record['model']}, "
            f"those of {loaded.weights_source} are {loaded.weights_sha256}",
            "give its weights file with --weights",
        )
    channels, height, width = record["spec"]["preprocessing"]["input_size"]
    write_onnx(loaded.network, (channels, height, width), path)
