"""What a valid configuration is, and how Hydra composes one."""
