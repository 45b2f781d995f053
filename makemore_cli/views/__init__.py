"""Views of a run or of the chain: diagnostics, explanations, graphs, plots and the report.

They only read.
"""
