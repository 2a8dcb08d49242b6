"""What sbatch complains of, in its own words (SLURM 22.05), and the option of ours that is meant."""

import pytest

from harness.sweep.launch.refusals import option_of, reason_of


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("sbatch: unrecognized option '--nosuch=1'\nTry \"sbatch --help\" for more information\n", "--sbatch nosuch=..."),
        ("sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: ...", "--partition"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "--constraint"),
        ("sbatch: error: Memory specification can not be satisfied", "--memory-gb"),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", "--gpus, --cpus"),
        ("sbatch: error: Batch job submission failed: Requested reservation is invalid", "--sbatch reservation=..."),
        ("sbatch: error: Invalid --mem specification", "--memory-gb"),
        ('sbatch: error: Invalid numeric value "x" for --cpus-per-task.', "--cpus"),
        ("sbatch: error: Batch job submission failed: More processors requested than permitted", "--cpus"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "--qos"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", "--account"),
        ("sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification", "--gpus"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds)", "--timeout"),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy", "--pack"),
    ],
)
def test_the_option_is_named(text, option):
    reason = reason_of(text)
    assert reason
    assert "Try" not in reason
    assert option_of(reason).startswith(option)


def test_what_is_not_known_is_shown_as_it_is():
    assert reason_of("something\nwent wrong\n") == "went wrong"
    assert option_of("went wrong") == ""
    assert reason_of("") == "no answer"
