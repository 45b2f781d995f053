"""Inference with a trained network: losses over whole splits, sampling, and scoring names.

It needs only NumPy, except for the lecture's sampler, which needs PyTorch.
"""
