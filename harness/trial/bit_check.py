"""See that rules for single sites set the width of something in a network, and name what would be possible otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.errors import SiteError, nearest
from harness.trial.bit_rules import ROOT, Addressed, BitRule
from harness.trial.bits import INPUT, Bits

SHOWN = 6
WHAT = {"weight": "weights", "activation": "activations", "attention": "attention probabilities"}


def check_paths(bits: Bits, paths: Sequence[str], network: str) -> None:
    """See that the path of every rule is that of a module or tensor; what can be told before the network is captured.

    Raises:
        SiteError: One is not, with the nearest that are.
    """
    known = [*paths, ROOT, INPUT]
    for rule in bits.rules:
        if not any(rule.pattern.is_at(path) for path in known):
            near = nearest(rule.pattern.path, known)
            raise SiteError(
                f"bits {str(rule)!r}: {network} has no module {rule.pattern.path}.{near} Its modules are {_listed(paths)}"
            )


def check_sites(bits: Bits, sites: Iterable[Addressed], network: str) -> None:
    """See that every rule sets the width of some site of a network.

    Args:
        bits: Widths with rules.
        sites: All sites of the network.
        network: Its name, for the message.

    Raises:
        SiteError: A pattern names no site, or none that has the width it sets; with the sites that would be possible.
    """
    found = list(sites)
    for rule in bits.rules:
        matched = [site for site in found if rule.pattern.matches(site)]
        if not matched:
            raise SiteError(f"bits {str(rule)!r}: {network} has no site {rule.pattern}.{_possible(rule, found)}")
        for name in () if rule.every else WHAT:
            if getattr(rule, name) is not None and not any(_depends(site, name) for site in matched):
                raise SiteError(
                    f"bits {str(rule)!r} sets the width of {WHAT[name]}, and there are none among the sites of {network} "
                    f"that {rule.pattern} names: {_listed([site.name for site in matched])}"
                )


def _depends(site: Addressed, name: str) -> bool:
    if site.kind == "weight":
        return name == "weight"
    return name == "activation" or (name == "attention" and site.kind == "softmax")


def _possible(rule: BitRule, sites: list[Addressed]) -> str:
    """The sites at the modules of a rule; where there are none, the nearest modules."""
    here = [site.name for site in sites if replace(rule.pattern, operation="").matches(site)]
    if here and rule.pattern.operation:
        operation = nearest(rule.pattern.operation, (name.partition(":")[2] for name in here))
        return f"{operation} Its sites there are {_listed(here)}"
    modules = dict.fromkeys(site.module or site.name for site in sites)
    return f"{nearest(rule.pattern.path, modules)} Its sites are {_listed([site.name for site in sites])}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
