"""A campaign of kills: whatever a run is doing when it dies, the same command ends as if nothing had happened.

    python -m tests.torture --kills 200

`matrix` says which runs are tried, `victim` runs one in a process that is killed at a chosen place, `chain`
kills a run again and again and compares what it leaves in the end with a run that was left alone.
"""
