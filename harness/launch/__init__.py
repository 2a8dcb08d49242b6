"""Where trials run: worker processes of this machine (``local``) or SLURM array jobs (``slurm``)."""
