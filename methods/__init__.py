"""Quantization methods: one file, one config, one role each. Found through `harness.method.registry` only."""
