"""Many trials: composed, planned, launched, watched."""
