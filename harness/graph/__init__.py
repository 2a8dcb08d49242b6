"""Any timm classifier as a chain of segments of known operations (``torch.export``, no forked model files)."""
