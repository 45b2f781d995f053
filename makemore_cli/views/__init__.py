"""Views of a run or of the chain: diagnostics, explanations, pictures, and the report.

They read; they change nothing.
"""
