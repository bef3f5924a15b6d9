"""What `python -m mammo.doctor` looks at: the environment, a dataset, run directories and sweeps."""
