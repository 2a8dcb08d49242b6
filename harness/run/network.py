"""The captured network of a trial, kept from the last time where it is the same."""

from __future__ import annotations

from harness.models.cards import block_pattern
from harness.quant.network.qmodel import QuantizedModel, quantizable
from harness.run.prepare import Prepared
from harness.run.session import Session


def captured_network(prepared: Prepared, session: Session) -> QuantizedModel:
    """The network, with whatever its last user left in it.

    Args:
        prepared: The checked trial.
        session: Keeps it.
    """
    network, size, name = prepared.model.network, prepared.preprocessing.input_size, prepared.model.name
    pattern = block_pattern(prepared.model.architecture)
    key = (prepared.model.weights_sha256, name, pattern, size, str(prepared.device))
    found: QuantizedModel = session.opened.once(
        "capture", key, lambda: quantizable(network, size, name, pattern).to(prepared.device)
    )
    return found
