"""How hostile inputs are generated: the same ones in every run, without looking for smaller ones."""

from hypothesis import HealthCheck, Phase, settings


def generated(count):
    """So many examples."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
