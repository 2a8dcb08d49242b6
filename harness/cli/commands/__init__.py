"""What each command can be given: examples and options. Imports nothing heavy."""
