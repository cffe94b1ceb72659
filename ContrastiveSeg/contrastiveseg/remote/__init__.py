"""Jobs on another machine, over the system's ssh, and jobs that Slurm does."""
