"""Where a captured network creates tensors: captured on one device, it must create them on the one that it runs on."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def create_on(module: fx.GraphModule, device: torch.device) -> None:
    """Let every operation that names a device (``zeros`` of a batch, ``arange``, ``to``) name this one."""
    changed = False
    for node in module.graph.nodes:
        if node.op == "call_function" and any(isinstance(one, torch.device) for one in (*node.args, *node.kwargs.values())):
            node.args = tuple(_moved(one, device) for one in node.args)
            node.kwargs = {name: _moved(one, device) for name, one in node.kwargs.items()}
            changed = True
    if changed:
        module.recompile()


def _moved(argument: Any, device: torch.device) -> Any:
    return device if isinstance(argument, torch.device) else argument
