"""Launchers: worker processes on this machine, SLURM arrays."""
