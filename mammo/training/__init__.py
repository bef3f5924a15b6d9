"""The training loop and what it is made of: losses, optimizers, schedules, inputs, checkpoints."""
