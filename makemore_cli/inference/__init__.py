"""The use of a trained network: losses over whole splits, sampling, and scoring names.

It needs NumPy alone, but for the lecture's own sampler.
"""
