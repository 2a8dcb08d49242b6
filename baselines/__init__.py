"""Baselines and peer methods, through the same interface as `methods`."""
