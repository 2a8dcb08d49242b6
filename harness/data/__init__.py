"""Images: calibration sets (no labels), evaluation sets, preprocessing, folders and the embedded default."""
