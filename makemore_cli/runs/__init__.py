"""The run folder and its files (checkpoint, metrics, summary), and the comparison of runs.

Files are validated before they are used.
"""
