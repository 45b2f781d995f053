"""Hyperparameter search: the search space, the study with its trials, and the processes that run them.

Its state survives a kill at any moment.
"""
