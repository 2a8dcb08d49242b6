"""Wait for something that other processes do."""

import time

from harness.sweep import heartbeat


def wait_for(look, seconds=180):
    """The first true result of ``look``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def searching(store, trials=None, steps=20):
    """The heartbeat of the first of the trials (all of the store when none are named) that is well inside a search."""
    for trial in trials if trials is not None else [folder.name for folder in store.trial_folders()]:
        beat = heartbeat.read(store, trial)
        if beat is not None and beat.stage == "evolq" and beat.step > steps:
            return beat
    return None
