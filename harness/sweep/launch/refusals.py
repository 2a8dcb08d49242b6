"""What SLURM's commands say when they refuse, in one line, with the option of ours that is meant."""

from __future__ import annotations

import re

# What sbatch complains of, and the options of harness sweep that ask for it.
COMPLAINTS = (
    (r"option '--?([\w-]+)", "--sbatch {0}=..."),
    (r"--mem\b|[Mm]emory specification", "--memory-gb"),
    (r"--cpus-per-task|CPU count|[Pp]rocessors requested", "--cpus"),
    (r"--gpus-per-node|[Gg]eneric resource|\bgres\b", "--gpus"),
    (r"--time\b|time limit", "--timeout"),
    (r"[Ii]nvalid partition", "--partition"),
    (r"policy|[Aa]ssoc\w* (limit|job)|MaxSubmit", "--pack: fewer jobs, or fewer resources for each"),
    (r"[Ii]nvalid qos", "--qos"),
    (r"[Ii]nvalid account", "--account"),
    (r"[Ii]nvalid feature", "--constraint"),
    (r"[Rr]eservation", "--sbatch reservation=..."),
    (r"--([\w-]+)\b.*(specification|value)|(?:specification|value).*--([\w-]+)", "--sbatch {0}=..."),
    (r"[Nn]ode configuration is not available", "--gpus, --cpus, --memory-gb, --constraint: no node has all of it"),
)


def reason_of(text: str) -> str:
    """What is wrong, of what a command of SLURM printed; else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or re.search(r"\boption '", line)]
    return "; ".join(dict.fromkeys(errors)) or (lines[-1] if lines else "no answer")


def option_of(text: str) -> str:
    """The options that a refusal is about, for a hint; empty when it is none that we know."""
    for pattern, option in COMPLAINTS:
        found = re.search(pattern, text)
        if found:
            return option.format(*filter(None, found.groups()))
    return ""
