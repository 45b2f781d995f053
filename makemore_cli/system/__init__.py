"""Interfaces to the machine: files, output, signals, child processes, compilation.

Nothing here knows about neural networks.
"""
