"""Options of ``harness sweep`` and ``harness plan``: flags are another spelling of Hydra overrides."""

from __future__ import annotations

import argparse
from argparse import _ActionsContainer
from pathlib import Path
from typing import Any

from harness.cli import trial_options
from harness.cli.commands.options import add_json, add_store, add_trust
from harness.errors import UsageError
from harness.text import quoted

LAUNCHER = {
    "workers": ("workers", "<n>", "local: processes (default: one per GPU, else one per four cores)"),
    "partition": ("partition", "<name>", "slurm: partition"),
    "account": ("account", "<name>", "slurm: account"),
    "qos": ("qos", "<name>", "slurm: quality of service"),
    "gpus": ("gpus", "<n>", "slurm: GPUs per job (default: 1)"),
    "cpus": ("cpus", "<n>", "slurm: cores per job (default: 8)"),
    "memory-gb": ("memory_gb", "<GB>", "slurm: memory per job (default: 32)"),
    "timeout": ("timeout_min", "<minutes>", "slurm: time limit per job, at least 15 (default: 240)"),
    "constraint": ("constraint", "<features>", "slurm: node features"),
    "array-parallelism": ("array_parallelism", "<n>", "slurm: jobs at a time (default: 64)"),
    "pack": ("pack", "<n>", "slurm: trials per job (default: what fills half the time limit)"),
}


def add_grid(parser: argparse.ArgumentParser) -> None:
    """Add all options that describe a sweep; ``overrides`` reads them."""
    parser.add_argument("overrides", nargs="*", metavar="<key=value>", help="Hydra overrides, for example seed=range(3)")
    trials = parser.add_argument_group("trials (their product is the grid)")
    how = parser.add_argument_group("how it runs")
    trials.add_argument("--experiment", metavar="<name>", help="named experiment: smoke, table1, calibration, or your own")
    _add_launcher_options(how)
    trial_options.add_grid(trials, how)
    trials.add_argument("--ladder", action="store_true", help="also every prefix of each stack")
    how.add_argument("--no-share", action="store_true", help="every trial computes everything itself")
    how.add_argument("--fail-fast", action="store_true", help="start nothing more after the first failure")
    how.add_argument("--config-dir", type=Path, metavar="<dir>", help="folder with your experiment/ and launcher/ files")
    how.add_argument("--quiet", action="store_true", help="no progress")
    add_trust(how)
    add_store(how)
    add_json(how)


def overrides(arguments: argparse.Namespace) -> list[str]:
    """Flags as overrides, in front of the overrides that were given as such.

    Raises:
        UsageError: A flag's ``key=value`` has no equals sign.
    """
    flags = [("experiment", arguments.experiment), ("launcher", _launcher(arguments)), ("name", arguments.name)]
    texts = [f"{key}={value}" for key, value in flags if value is not None]
    texts += [*trial_options.overrides(arguments), *_launcher_overrides(arguments)]
    texts += ["ladder=true"] if arguments.ladder else []
    texts += ["share=false"] if arguments.no_share else []
    texts += ["fail_fast=true"] if arguments.fail_fast else []
    return texts + list(arguments.overrides)


def _add_launcher_options(how: _ActionsContainer) -> None:
    how.add_argument("--name", metavar="<name>", help="of the sweep (default: the experiment's)")
    how.add_argument("--launcher", metavar="<kind>", help="local or slurm (default: local)")
    for name, (_, metavar, text) in LAUNCHER.items():
        how.add_argument(f"--{name}", metavar=metavar, help=text)
    how.add_argument("--setup", action="append", default=[], metavar="<line>", help="slurm: shell line before the job")
    how.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="<key[=value]>",
        help="slurm: further sbatch option; without a value: a switch",
    )


def _launcher_overrides(arguments: argparse.Namespace) -> list[str]:
    values = {key: getattr(arguments, flag.replace("-", "_")) for flag, (key, _, _) in LAUNCHER.items()}
    texts = [f"launcher.{key}={value}" for key, value in values.items() if value is not None]
    texts += [f"launcher.setup=[{','.join(map(quoted, arguments.setup))}]"] if arguments.setup else []
    return texts + [f"+launcher.sbatch.{_sbatch(item)}" for item in arguments.sbatch]


def _sbatch(item: str) -> str:
    """One option of sbatch; one without a value is a switch, such as ``no-requeue``."""
    key, _, value = item.partition("=")
    return f"{key.strip()}=true" if value in ("", "true") else _pair(item, "--sbatch", quote=True)


def _launcher(arguments: argparse.Namespace) -> Any:
    """``--partition`` and the like mean SLURM, unless a launcher is named."""
    named = arguments.launcher or any(text.startswith("launcher=") for text in arguments.overrides)
    slurm = arguments.setup or arguments.sbatch
    slurm = slurm or any(getattr(arguments, flag.replace("-", "_")) for flag in LAUNCHER if flag != "workers")
    return "slurm" if slurm and not named else arguments.launcher


def _pair(item: str, option: str, *, quote: bool = False) -> str:
    key, equals, value = item.partition("=")
    if not equals:
        raise UsageError(f"{option} {item!r} not understood: expected key=value")
    return f"{key.strip()}={quoted(value) if quote else value}"
