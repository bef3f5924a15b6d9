"""How a command is started and ended: arguments, messages, exit status."""
