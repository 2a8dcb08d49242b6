"""What each command does: ``run(arguments)`` returns the exit code. Imported when the command is run."""
