"""Fake quantization: pure numerics, quantizers, observers and the quantized model."""
