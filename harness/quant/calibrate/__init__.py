"""From calibration images to quantizers: observers, statistics, installation."""
