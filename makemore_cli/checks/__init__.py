"""Sources of gradients and their comparison: which gradient is wrong, which line makes it so, and why.

A user's own backward pass is checked here too.
"""
