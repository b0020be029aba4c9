"""Injects faults into small runs, each in processes of its own, and prints what happened as a table.

    python -m experiments.faults                        # all of them, ten minutes or so
    python -m experiments.faults full_disk nan_loss     # some

Runs are of two epochs of three steps on the digits. A fault behaved where the run ended with the expected exit code and
words, no checkpoint holds bad weights, nothing half-written lies about, and, where the run can go on, it went on to the
weights and losses, to the bit, of a run that nothing happened to. The exit code is 1 where one did not behave. Faults
that need a small or a read-only disk mount one, and are skipped where this user may not. Runs that are killed at random
moments are in experiments/kill.py.

Each file holds the faults of one subject. The table has their names from the functions, and how they are injected from
the docstrings; how long each took is in its last column.
"""
