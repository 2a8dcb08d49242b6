"""What the computer does: progress, memory, measurements."""
