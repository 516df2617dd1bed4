"""The long runs, and the times of the fault plan: what a test suite has no hour for, or must not judge.

`python -m tests.soak` runs all of it one after the other, each part bounded, and writes what it measured as a
table; words choose some parts. Exit code 1 when anything is not as it must be. For a machine that does
nothing else.
"""
