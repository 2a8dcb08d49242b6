"""Run post-training quantization trials of vision models, keep their records, report on them."""

__version__ = "0.1.0"
