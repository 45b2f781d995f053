"""The hand-written backward pass in three forms: a table of atomic steps, fused, and compiled.

The package reads no data files and prints nothing.
"""
