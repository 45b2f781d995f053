"""The search for a configuration: the space, the study of its trials, and the processes that run them.

Its state survives a kill at any moment.
"""
