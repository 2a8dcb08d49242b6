"""The quantized network: an executable chain of segments with a place for a quantizer at every site."""
