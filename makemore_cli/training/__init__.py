"""Training runs: engines, optimisers, the training loop, logging, progress displays and resuming.

All code that changes parameters is here.
"""
