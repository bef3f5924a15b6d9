"""A campaign of hostile files: `python -m tests.attacks --count 5000`.

Results, checkpoints, studies, configurations and label tables that somebody may have written in order to harm are
made from harmless ones, repeatably, and read by the commands. What may come of them is a result or a typed refusal:
no traceback, no hang, nothing done that a harmless file of the kind does not cause, no name of a person written.
"""
