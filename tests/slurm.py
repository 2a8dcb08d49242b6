"""The one place that knows how tests find a SLURM."""

import shutil
import subprocess

import pytest


def answers() -> bool:
    """Whether a SLURM with a working node is at hand."""
    if shutil.which("sinfo") is None:
        return False
    try:
        found = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return any(state.strip("*") in ("idle", "mixed", "allocated") for state in found.stdout.split())


requires_slurm = pytest.mark.skipif(not answers(), reason="no SLURM answers here (sinfo); .ci/slurm starts one")
