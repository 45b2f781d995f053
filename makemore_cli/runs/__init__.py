"""The run folder and its files: checkpoint, metrics, summary; and how several runs compare.

Files are checked before they are believed.
"""
