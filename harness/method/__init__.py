"""What a method is: base class, registration, settings, stacks, calibration sources."""
