"""Everything hostile that comes to mind: command lines, damaged files, odd images, odd weights, odd plugins.

``pytest tests/hostile`` tries some hundreds of inputs, with ``--nightly`` (or ``HARNESS_NIGHTLY=1``) it tries thousands, and
``python -m tests.hostile`` prints how many there were and what came of them, by area. What has to hold is the same for all
of them and stands in ``world.py``.
"""
