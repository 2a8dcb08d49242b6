"""Fake quantization: number formats, the quantized network, calibration."""
